//! Living and ending.
//!
//! 1. A change of tools is heard on both eras.
//! 2. Whatever way a connection ends, no process of its group is left.
//! 3. Shutdown ends within its time, however stubborn the servers.

use super::*;
use toolscout_upstream::UpstreamEvent;

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_tools_is_heard_on_both_eras() {
    for behave in [Behave::ModernOnly, Behave::LegacyOnly] {
        let world = World::stdio(&[Behave::ChangesTools, behave]);
        let mut events = world.pool.subscribe();
        assert_eq!(world.list().await.unwrap().tools.len(), 3);
        if behave == Behave::ModernOnly {
            world.until_logged("got subscriptions/listen").await;
        }
        world.call("echo", echo()).await.unwrap();
        let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap();
        assert_eq!(event, UpstreamEvent::ToolsChanged { upstream: up() });
        assert!(names(&world.list().await.unwrap()).contains(&"newcomer"));
    }
}

async fn tree(behaves: &[Behave]) -> (World, Vec<u32>) {
    let change = |spec: &mut UpstreamSpec| spec.timeouts.close = Duration::from_millis(300);
    let world = World::of(Scripted::new(behaves), change, PoolOptions::default());
    world.list().await.unwrap();
    let pids: Vec<u32> = [world.pids("start"), world.pids("grandchild")].concat();
    assert!(pids.len() >= 2 && pids.iter().all(|&pid| lives(pid)), "{pids:?}");
    (world, pids)
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_7_no_grandchild_survives_a_shutdown() {
    let (world, pids) = tree(&[Behave::Grandchild]).await;
    world.pool.shutdown().await;
    until_gone(&pids).await;
    assert!(matches!(world.list().await, Err(Error::ShuttingDown)));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_7_no_grandchild_survives_a_dropped_pool() {
    let (world, pids) = tree(&[Behave::Grandchild]).await;
    drop(world.pool);
    until_gone(&pids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_7_no_grandchild_survives_a_changed_configuration() {
    let (world, pids) = tree(&[Behave::Grandchild]).await;
    let same = (*world.pool.spec(&up()).unwrap()).clone();
    world.pool.configure(vec![same]);
    world.list().await.unwrap();
    assert_eq!(world.logged("start").len(), 1, "an unchanged spec keeps its connection");
    world.pool.configure(Vec::new());
    until_gone(&pids).await;
    assert!(world.pool.ids().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_7_no_grandchild_survives_a_crash() {
    let (world, pids) = tree(&[Behave::Grandchild, Behave::CrashMidCall]).await;
    world.call("echo", echo()).await.unwrap_err();
    until_gone(&pids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_7_no_grandchild_survives_a_failed_connect() {
    let change = |spec: &mut UpstreamSpec| {
        spec.timeouts.start = Duration::from_millis(500);
        spec.timeouts.probe = Duration::from_millis(200);
    };
    let script = Scripted::new(&[Behave::Grandchild, Behave::SlowStart, Behave::Stubborn]).delay_ms(600_000);
    let world = World::of(script, change, PoolOptions::default());
    world.list().await.unwrap_err();
    let pids = [world.pids("start"), world.pids("grandchild")].concat();
    assert!(pids.len() >= 2);
    until_gone(&pids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stubborn_server_is_killed_when_its_grace_is_over() {
    let (world, pids) = tree(&[Behave::Stubborn, Behave::Grandchild]).await;
    world.pool.shutdown().await;
    until_gone(&pids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_within_its_time_even_when_grace_is_long() {
    let change = |spec: &mut UpstreamSpec| spec.timeouts.close = Duration::from_secs(600);
    let options = PoolOptions { shutdown: Duration::from_millis(300), ..PoolOptions::default() };
    let world = World::of(Scripted::new(&[Behave::Stubborn]), change, options);
    world.list().await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), world.pool.shutdown()).await.expect("far below the grace");
    until_gone(&world.pids("start")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_what_is_still_starting() {
    let script = Scripted::new(&[Behave::SlowStart]).delay_ms(600_000);
    let world = World::of(script, |_| {}, PoolOptions::default());
    let stop = async {
        world.until_logged("start").await;
        world.pool.shutdown().await;
    };
    let (outcome, ()) = tokio::join!(world.list(), stop);
    assert!(matches!(outcome, Err(Error::ShuttingDown)), "{outcome:?}");
    until_gone(&world.pids("start")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_by_itself_is_told() {
    let world = World::stdio(&[Behave::CrashMidCall]);
    let mut events = world.pool.subscribe();
    world.call("echo", echo()).await.unwrap_err();
    let UpstreamEvent::Closed { reason, .. } = events.recv().await.unwrap() else { panic!("not closed") };
    assert_eq!(reason, "its last words: segmentation fault, or so");
}
