//! What does a person type, and what do they read?
//!
//! One binary: [`config`] reads files, environment and flags; [`app`] opens and wires everything; [`backend`] answers in this
//! process or asks the running server; [`commands`] print. Logic worth testing alone lives in the crates above.

mod app;
mod args;
mod backend;
mod commands;
mod config;
mod edit;
mod fail;
mod http;
mod logs;
mod mask;
mod model;
mod pipe;
mod progress;
mod screen;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{CatalogCommand, Cli, Command, ConfigCommand, Eval, Models, Serve, Tools, Upstreams};
use backend::Backend;
use config::{Flags, Outside};
use fail::{Ended, Exit};
use toolscout_quality::Verdict;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(Err(error.into())),
    };
    let ended = runtime.block_on(run(cli));
    // A blocking call that hangs (a model on a slow disk) must not keep a finished command alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    end(ended)
}

fn end(ended: Ended) -> ExitCode {
    match ended {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) if fail::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            screen::say(fail::render(&error).trim_end());
            ExitCode::from(fail::exit_of(&error) as u8)
        }
    }
}

async fn run(cli: Cli) -> Ended {
    let is_server = matches!(cli.command, Command::Serve(_));
    let telemetry = logs::init(cli.global.log_format, cli.global.verbose, is_server)?;
    let ended = dispatch(cli).await;
    telemetry.end().await;
    ended
}

async fn dispatch(cli: Cli) -> Ended {
    let outside = Outside::of_process();
    let mut flags = Flags { config: cli.global.config.clone(), ..Flags::default() };
    if let Some(dir) = &cli.global.data_dir {
        flags.settings.push(("data_dir", dir.to_string_lossy().into_owned()));
    }
    // Commands that must work whatever the configuration says come first.
    let command = match cli.command {
        Command::Config(ConfigCommand::Example) => {
            screen::line(config::EXAMPLE.trim_end())?;
            return Ok(Exit::Done);
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "toolscout", &mut script);
            screen::line(String::from_utf8_lossy(&script).trim_end())?;
            return Ok(Exit::Done);
        }
        Command::Eval(Eval::Compare(args)) => return commands::eval::compare(args),
        Command::Eval(Eval::Leaderboard(args)) => return commands::eval::leaderboard(&args),
        Command::Upstreams(Upstreams::Add(args)) => return commands::upstreams::add(&args, &flags, &outside),
        Command::Upstreams(Upstreams::Remove { name, output }) => {
            return commands::upstreams::remove(&name, output.json, &flags, &outside);
        }
        Command::Upstreams(Upstreams::Import { source, dry_run, output }) => {
            return commands::upstreams::import(&source, dry_run, output.json, &flags, &outside);
        }
        Command::Config(ConfigCommand::Check(output)) => {
            return commands::config::check(config::load(&flags, &outside), output.json);
        }
        Command::Doctor { licences: true, .. } => return commands::doctor::licences(),
        Command::Doctor { licences: false, output } => {
            return commands::doctor::doctor(&flags, &outside, output.json).await;
        }
        command => command,
    };
    if let Command::Serve(Serve { bind: Some(bind), .. }) = &command {
        flags.settings.push(("server.bind", bind.clone()));
    }
    let config = config::load(&flags, &outside)?;
    for note in &config.notes {
        // A server may run for months with a misspelt variable.
        match &command {
            Command::Serve(_) => tracing::info!("{note}"),
            _ => tracing::debug!("{note}"),
        }
    }
    match command {
        Command::Serve(args) => commands::serve::serve(&args, &config, cli.global.log_format).await,
        Command::Crawl(args) => commands::crawl::crawl(&config, &args.upstreams, args.output.json).await,
        Command::Catalog(CatalogCommand::Import { file, output }) => {
            commands::catalog::import(&config, &file, output.json).await
        }
        Command::Catalog(CatalogCommand::Export { file }) => commands::catalog::export(&config, file.as_deref()).await,
        Command::Eval(Eval::Run(args)) => commands::eval::run(*args, &config).await,
        Command::Eval(Eval::Replay(args)) => commands::replay::replay(args, &config).await,
        Command::Bench(args) => commands::bench::bench(&args, &config).await,
        Command::Lint(args) => commands::lint::lint(&args, &config).await,
        Command::Models(Models::List(output)) => commands::models::list(&config, output.json),
        Command::Models(Models::Verify(output)) => commands::models::verify(&config, output.json).await,
        Command::Upstreams(Upstreams::Check { upstreams, output }) => {
            commands::upstreams::check(&config, &upstreams, output.json).await
        }
        Command::Upstreams(Upstreams::List(output)) => {
            let known = commands::upstreams::known(&config).await;
            commands::upstreams::list(&config, &known, output.json)
        }
        other => {
            let backend = Backend::open(&config).await?;
            let ended = ask(other, &backend).await;
            backend.close().await;
            ended
        }
    }
}

/// The commands that ask the catalog, wherever it is open.
async fn ask(command: Command, backend: &Backend) -> Ended {
    match command {
        Command::Search(args) => commands::search::search(&args, backend).await,
        Command::Explain(args) => commands::search::explain(&args, backend).await,
        Command::Quality(output) => commands::tools::quality(output.json, backend).await,
        Command::Tools(Tools::List { upstreams, output }) => {
            commands::tools::list(&upstreams, output.json, backend).await
        }
        Command::Tools(Tools::Show { ids, output }) => commands::tools::show(&ids, output.json, backend).await,
        Command::Tools(Tools::Quarantine(args)) => commands::tools::decide(&args, Verdict::Quarantine, backend).await,
        Command::Tools(Tools::Release(args)) => commands::tools::decide(&args, Verdict::Release, backend).await,
        Command::Tools(Tools::Approve(args)) => commands::approve::approve(&args, backend).await,
        Command::Tools(Tools::Call { id, arguments, args, selection, confirm, output }) => {
            let call = commands::tools::Call {
                id: &id,
                arguments: arguments.as_deref(),
                args: &args,
                selection: selection.as_deref(),
                is_confirmed: confirm,
                is_json: output.json,
            };
            commands::tools::call(&call, backend).await
        }
        Command::Serve(_)
        | Command::Crawl(_)
        | Command::Upstreams(_)
        | Command::Catalog(_)
        | Command::Eval(_)
        | Command::Bench(_)
        | Command::Lint(_)
        | Command::Models(_)
        | Command::Config(_)
        | Command::Doctor { .. }
        | Command::Completions { .. } => unreachable!("dispatched before"),
    }
}
