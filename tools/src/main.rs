//! The command `bluetick`.

use std::io::{self, Write};
use std::process::ExitCode;

use bluetick_tools::cli::{Cli, Command, Run};
use bluetick_tools::exec::exec;
use bluetick_tools::live::{Live, Options};
use bluetick_tools::{headless, ui};
use clap::Parser;

fn main() -> ExitCode {
    match Cli::parse().command() {
        Command::Exec(command) => {
            let (file, arguments) = command.into_parts();
            exec(&file, arguments)
        }
        Command::Run(command) => match run(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                // Nobody reads it if this fails.
                let _ = writeln!(io::stderr(), "bluetick: {message}");
                ExitCode::FAILURE
            }
        },
    }
}

fn run(command: Run) -> Result<(), String> {
    let headless = command.options.is_headless();
    let Run { dir, options } = command;
    // Without a terminal nobody edits, and two runs have to print the same however busy the machine is.
    let watch = !headless;
    let mut live = Live::open(Options {
        dir,
        scene: options.scene,
        seed: options.seed,
        watch,
        reproducible: headless,
        dilate: options.dilate,
    })?;
    let played = if headless {
        log_to_stderr();
        let frames = options.frames.unwrap_or(headless::DEFAULT_FRAMES);
        headless::play(&mut live, frames, &mut io::stdout(), &mut io::stderr())
    } else {
        ui::play(&mut live, ui::Settings { speed: options.speed, frames: options.frames })
    };
    played.map_err(|error| error.to_string())
}

/// With `RUST_LOG` set, what the libraries log goes to standard error. A picture has no place for it.
fn log_to_stderr() {
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(io::stderr)
            .init();
    }
}
