//! Starting and greeting.
//!
//! 1. A server of either era is greeted, whatever the probe does to it.
//! 2. The era is remembered, so the next start is right at once.
//! 3. A start that fails says why, without secrets, and is not repeated before its wait is over.
//! 4. Many who ask at once share one start.

use super::*;
use toolscout_upstream::{CheckStatus, Timeouts};

fn quick(spec: &mut UpstreamSpec) {
    spec.timeouts = Timeouts {
        start: Duration::from_secs(10),
        probe: Duration::from_millis(400),
        close: Duration::from_millis(500),
        ..Timeouts::default()
    };
}

/// Lists and calls, and after a restart of ours lists again: the era spoken, and how many processes each took.
async fn check(script: Scripted, (era, n_first, n_again): (Era, usize, usize)) {
    let eras = Arc::new(Eras::default());
    let world = World::of(script, quick, options_with(&eras));
    let listing = world.list().await.unwrap();
    assert_eq!((names(&listing)[0], listing.server.era), ("echo", era));
    assert_eq!(world.call("echo", echo()).await.unwrap().era, era);
    assert_eq!(world.logged("start").len(), n_first, "starts while the era is unknown");
    let spec = (*world.pool.spec(&up()).unwrap()).clone();
    world.pool.shutdown().await;
    until_gone(&world.pids("start")).await;
    let pool = Pool::new(options_with(&eras));
    pool.configure(vec![spec]);
    assert_eq!(pool.list(&up()).await.unwrap().server.era, era);
    assert_eq!(world.logged("start").len() - n_first, n_again, "starts once it is known");
    pool.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_server_is_greeted_in_the_modern_era() {
    check(Scripted::new(&[Behave::Good]), (Era::Modern, 1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_server_that_refuses_the_probe_needs_no_second_start() {
    check(Scripted::new(&[Behave::LegacyOnly]), (Era::Legacy, 1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_only_server_works() {
    check(Scripted::new(&[Behave::ModernOnly]), (Era::Modern, 1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_1_a_slow_start_beyond_the_probe_works_without_a_second_start() {
    check(Scripted::new(&[Behave::SlowStart]).delay_ms(1_000), (Era::Modern, 1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_1_a_late_probe_answer_is_not_taken_for_another() {
    let script = Scripted::new(&[Behave::LateProbeAnswer, Behave::LegacyOnly]).delay_ms(900);
    check(script, (Era::Legacy, 1, 1)).await;
    let script = Scripted::new(&[Behave::LateProbeAnswer, Behave::ModernOnly]).delay_ms(900);
    check(script, (Era::Modern, 1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_2_a_server_that_dies_on_the_probe_is_started_again() {
    check(Scripted::new(&[Behave::DiesOnProbe]), (Era::Legacy, 2, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_2_a_server_silent_on_the_probe_works() {
    check(Scripted::new(&[Behave::SilentOnProbe]), (Era::Legacy, 1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_2_a_server_wedged_by_the_probe_is_started_again() {
    let script = Scripted::new(&[Behave::WedgedByProbe]);
    let change = |spec: &mut UpstreamSpec| {
        quick(spec);
        spec.timeouts.start = Duration::from_secs(2);
    };
    let world = World::of(script, change, PoolOptions::default());
    assert_eq!(world.list().await.unwrap().server.era, Era::Legacy);
    assert_eq!(world.logged("start").len(), 2);
    let [first, _] = world.pids("start")[..] else { panic!("two starts") };
    until_gone(&[first]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_memory_of_the_era_costs_one_start_and_is_mended() {
    let script = Scripted::new(&[Behave::ModernOnly]);
    let eras = Arc::new(Eras::default());
    let world = World::of(script, quick, options_with(&eras));
    let key = world.pool.spec(&up()).unwrap().era_key();
    eras.put(&key, Era::Legacy);
    assert_eq!(world.list().await.unwrap().server.era, Era::Modern);
    assert_eq!((world.logged("start").len(), eras.get(&key)), (2, Some(Era::Modern)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_too_little_of_itself_is_still_one() {
    for behaves in [&[Behave::Sloppy][..], &[Behave::Sloppy, Behave::LegacyOnly]] {
        let world = World::stdio(behaves);
        assert_eq!(names(&world.list().await.unwrap()), ["echo", "add", "untyped"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_stdout_noise_is_stepped_over() {
    let world = World::stdio(&[Behave::Garbage]);
    assert_eq!(world.list().await.unwrap().tools.len(), 3);
    world.call("echo", echo()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_of_itself_comes_out_clean() {
    let world = World::stdio(&[Behave::HiddenText]);
    let server = world.list().await.unwrap().server;
    assert_eq!((server.name.as_str(), server.version.as_str()), ("scripted[31m", "1.2.3"));
    assert_eq!(server.instructions.as_deref(), Some("Use me well."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_start_tells_the_last_words_without_secrets_and_waits_before_the_next() {
    let world = World::of(Scripted::new(&[Behave::LeaksAndDies]), quick, PoolOptions::default());
    let error = world.list().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert!(error.stderr().is_some_and(|text| text.contains("cannot log in with ***")), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("cannot log in with ***")));
    let n_starts = world.logged("start").len();
    let second = world.list().await.unwrap_err();
    assert!(matches!(second, Error::BackingOff { failures: 1, .. }), "{second:?}");
    assert_eq!(world.logged("start").len(), n_starts);
    // `check` does not wait.
    let report = world.pool.check(&up()).await;
    assert_eq!(report.status, CheckStatus::Unreachable);
    assert!(world.logged("start").len() > n_starts);
    let all = format!("{error:?} {second:?} {report:?} {:?} {:?}", error.chain(), world.pool.spec(&up()));
    assert!(!all.contains(SECRET), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_is_named() {
    let pool = Pool::new(PoolOptions::default());
    pool.configure(vec![UpstreamSpec::stdio(up(), "no-such-program-here", ["--token=x"])]);
    let error = pool.list(&up()).await.unwrap_err();
    assert!(matches!(&error, Error::Start { command, .. } if command == "no-such-program-here"));
    assert!(error.hint().is_some_and(|hint| hint.contains("not installed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_greets_runs_into_its_deadline_and_is_killed() {
    let change = |spec: &mut UpstreamSpec| {
        quick(spec);
        spec.timeouts.start = Duration::from_millis(600);
    };
    let script = Scripted::new(&[Behave::SlowStart, Behave::Stubborn]).delay_ms(600_000);
    let world = World::of(script, change, PoolOptions::default());
    let error = world.list().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    until_gone(&world.pids("start")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_share_one_start_and_one_failure() {
    let world = World::of(Scripted::new(&[Behave::SlowStart]).delay_ms(200), quick, PoolOptions::default());
    let all = futures::future::join_all((0..20).map(|_| world.call("echo", echo()))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(world.logged("start").len(), 1);

    let world = World::of(Scripted::new(&[Behave::LeaksAndDies]), quick, PoolOptions::default());
    let all = futures::future::join_all((0..20).map(|_| world.list())).await;
    assert!(all.iter().all(Result::is_err));
    assert_eq!(world.logged("start").len(), 2, "one attempt: the probe and the legacy greeting");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_does_not_stop_the_start_for_others() {
    let world = World::of(Scripted::new(&[Behave::SlowStart]).delay_ms(300), quick, PoolOptions::default());
    let impatient = tokio::time::timeout(Duration::from_millis(50), world.list()).await;
    assert!(impatient.is_err());
    world.list().await.unwrap();
    assert_eq!(world.logged("start").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_disabled_upstreams_are_refused() {
    let world = World::of(Scripted::new(&[Behave::Good]), |spec| spec.enabled = false, PoolOptions::default());
    assert!(matches!(world.list().await, Err(Error::Disabled { .. })));
    assert_eq!(world.pool.check(&up()).await.status, CheckStatus::Disabled);
    let other = UpstreamId::new("other").unwrap();
    assert!(matches!(world.pool.list(&other).await, Err(Error::UnknownUpstream { .. })));
    assert!(world.logged("start").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_reports_what_it_saw() {
    let world = World::stdio(&[Behave::Malformed]);
    let report = world.pool.check(&up()).await;
    assert_eq!((report.status, report.era, report.n_tools), (CheckStatus::Degraded, Some(Era::Modern), 5));
    assert_eq!(report.server_version.as_deref(), Some("1.2.3"));
    assert_eq!((report.skipped.len(), report.error.len()), (5, 0));
    let world = World::stdio(&[Behave::Good]);
    assert_eq!(world.pool.check(&up()).await.status, CheckStatus::Ok);
}
