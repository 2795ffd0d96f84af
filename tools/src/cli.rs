//! The command line: what may be asked for, and nothing of how it is done.
//!
//! Exit status: 0; 1 where the script or scene failed; 2 for wrong usage, which clap gives by itself.

use std::{ffi::OsString, io::IsTerminal, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// Tasklets for entity scripts: play a project, or run one script.
///
/// Without a subcommand: `bluetick run`, the demo.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(name = "bluetick", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: RunOptions,
}

impl Cli {
    /// What to do: the subcommand, or `run` of the demo where none is given.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Run(Run { dir: None, options: self.options }))
    }
}

/// What the command does.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum Command {
    /// Play a project folder (scripts and scenes), live: save a script and watch it change
    Run(Run),
    /// Run one script as the main tasklet of a fresh scheduler, without a world
    Exec(Exec),
}

/// `bluetick run`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct Run {
    /// Project folder, with its scripts and scenes [default: the demo]
    pub dir: Option<PathBuf>,
    /// How to play it.
    #[command(flatten)]
    pub options: RunOptions,
}

/// The options of `bluetick run`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct RunOptions {
    /// Scene to play [default: the project's first]
    #[arg(long, value_name = "NAME")]
    pub scene: Option<String>,
    /// Print text instead of drawing, as is done where the output is no terminal
    #[arg(long)]
    pub headless: bool,
    /// End after this many frames [default: 600 without a terminal, else never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: Option<u64>,
    /// Seed of the world's random numbers [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Slow sim time down while the scripts need more time than there is
    #[arg(long)]
    pub dilate: bool,
    /// Sim seconds a wall second, 0.25 to 8; without a terminal a run is always as fast as it can be
    #[arg(long, value_name = "X", default_value = "1", value_parser = speed)]
    pub speed: f64,
}

impl RunOptions {
    /// Whether to print text: it was asked for, or there is no terminal to draw in and to read keys from.
    pub fn is_headless(&self) -> bool {
        self.headless || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal()
    }
}

/// `bluetick exec`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct Exec {
    // One list, so that clap has no say in anything that follows FILE: not in `--help`, not in `--`.
    #[arg(
        value_names = ["FILE", "ARGS"],
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        help = "The script, and what it gets as its `...`: everything after FILE, options too"
    )]
    words: Vec<OsString>,
}

impl Exec {
    /// The script and its arguments, as they were typed.
    pub fn into_parts(self) -> (PathBuf, Vec<OsString>) {
        let mut words = self.words.into_iter();
        // clap has made sure of one word; without any, the empty path is refused where it is opened.
        let file = words.next().unwrap_or_default();
        (file.into(), words.collect())
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (crate::app::SLOWEST..=crate::app::FASTEST).contains(&speed) => Ok(speed),
        Ok(_) => Err(format!("from {} to {}", crate::app::SLOWEST, crate::app::FASTEST)),
        Err(_) => Err("a number such as 0.5 or 2".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(Cli::command)
    }

    fn run(line: &str) -> Run {
        match parse(line) {
            Ok(Command::Run(run)) => run,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn exec(line: &str) -> (PathBuf, Vec<OsString>) {
        match parse(line) {
            Ok(Command::Exec(exec)) => exec.into_parts(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        // Spelled out: `Cli::command` is ours.
        <Cli as CommandFactory>::command().debug_assert();
    }

    #[test]
    fn no_subcommand_is_run() {
        assert_eq!(run("bluetick"), run("bluetick run"));
        assert_eq!(
            run("bluetick --headless --frames 60 --seed 7"),
            run("bluetick run --headless --frames 60 --seed 7")
        );
    }

    #[test]
    fn run_takes_a_folder_and_its_options_in_any_order() {
        let expected = Run {
            dir: Some("my/game".into()),
            options: RunOptions {
                scene: Some("arena".into()),
                headless: true,
                frames: Some(90),
                seed: Some(42),
                dilate: false,
                speed: 0.5,
            },
        };
        assert_eq!(
            run("bluetick run my/game --scene arena --headless --frames 90 --seed 42 --speed 0.5"),
            expected
        );
        assert_eq!(
            run("bluetick run --speed 0.5 --seed 42 --frames 90 --headless --scene arena my/game"),
            expected
        );
    }

    #[test]
    fn everything_after_the_file_goes_to_the_script() {
        assert_eq!(exec("bluetick exec a.luau"), ("a.luau".into(), vec![]));
        for args in ["x y", "--help", "-v --seed 3", "--headless", "-- -x", "a -- b", "exec run"] {
            let expected: Vec<OsString> = args.split(' ').map(Into::into).collect();
            assert_eq!(exec(&format!("bluetick exec a.luau {args}")), ("a.luau".into(), expected), "{args}");
        }
    }

    #[test]
    fn wrong_usage_is_exit_status_2() {
        for line in [
            "bluetick rnu",
            "bluetick --no-such",
            "bluetick run a b",
            "bluetick run --frames 0",
            "bluetick run --frames x",
            "bluetick run --seed -1",
            "bluetick run --speed 0",
            "bluetick run --speed NaN",
            "bluetick run --speed 9",
            "bluetick exec",
            "bluetick exec --bad a.luau",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_help_says_which_seed_there_is_without_one() {
        let help = parse("bluetick run --help").expect_err("help").to_string();
        assert!(help.contains("Seed of the world's random numbers [default: 1]"), "{help}");
    }

    #[test]
    fn help_before_the_file_is_ours() {
        assert_eq!(parse("bluetick exec --help").expect_err("help").kind(), ErrorKind::DisplayHelp);
    }
}
