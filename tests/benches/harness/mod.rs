//! What the benches of this folder share: rows of several things that are timed by turns, what is said of them,
//! and raw coroutines. `README.md` beside this folder says how to read what comes out.
#![allow(dead_code, unused_imports)] // each bench uses its own part

pub mod clock;
mod options;
mod program;
mod random;
mod raw;
mod report;
mod row;

pub use clock::nanoseconds;
pub use options::Options;
pub use program::{Program, built_here};
pub use random::Random;
pub use raw::{MEMORY, RawCoroutines, vm};
pub use report::{Against, Kind, Measured, Report};
pub use row::{Row, Side};

use std::process::ExitCode;

/// A row's short name, and what makes it.
pub type Named = (&'static str, fn() -> Row);

/// All of a bench whose rows are times: measures the rows that the command line asks for, prints and saves them.
pub fn run(bench: &'static str, rows: &[Named]) -> ExitCode {
    let options = Options::from_command_line();
    let mut report = Report::new(bench, &options);
    measure(&mut report, &options, rows);
    report.finish()
}

/// Measures the rows that the command line asks for.
pub fn measure(report: &mut Report, options: &Options, rows: &[Named]) {
    for &(what, row) in rows {
        if !options.asks_for(what) {
        } else if let Some(side) = &options.alone {
            row().run_alone(side);
        } else {
            report.add(row().measure(what, options));
        }
    }
}

/// The version of a package, as this workspace has locked it.
pub fn version_of(package: &str) -> &'static str {
    let lock = include_str!("../../../Cargo.lock");
    let (_, after) = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).unwrap_or_default();
    after.split('"').next().filter(|version| !version.is_empty()).unwrap_or("of unknown version")
}

/// Of some numbers, the one that this part of them is not above: 0.5 for the median.
pub fn quantile(numbers: &mut [f64], part: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[((numbers.len() - 1) as f64 * part).round() as usize]
}
