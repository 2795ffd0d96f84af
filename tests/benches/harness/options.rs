//! What the command line of a bench says.

use std::time::Duration;

/// The words after `cargo bench ... --`.
pub struct Options {
    /// Fewer rounds: all benches together take less than five minutes.
    pub quick: bool,
    /// A goal that is missed fails the command.
    pub strict: bool,
    /// The table goes into the workspace's README.
    pub readme: bool,
    /// Runs one side alone, for a profiler: `ours`, or the name of another one.
    pub alone: Option<String>,
    /// Only the rows whose names have all of these in them.
    pub words: Vec<String>,
}

const USAGE: &str = "
usage: cargo bench -p bluetick-tests [--bench NAME] -- [WORD]... [OPTION]...

    WORD           only rows whose names have all these words in them; nothing is saved
    --quick        fewer rounds, under five minutes for all
    --strict       a missed goal is a failure
    --readme       writes the table into README.md
    --alone SIDE   ten seconds of one side of each row, for a profiler: 'ours', or what the other's name begins with";

impl Options {
    /// Ends the process if there is a word that nobody knows.
    pub fn from_command_line() -> Self {
        let mut options = Self { quick: false, strict: false, readme: false, alone: None, words: Vec::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match &*word {
                // What cargo adds.
                "--bench" => {}
                "--quick" => options.quick = true,
                "--strict" => options.strict = true,
                "--readme" => options.readme = true,
                "--alone" if options.alone.is_none() => options.alone = words.next(),
                _ if word.starts_with('-') => {
                    eprintln!("unknown option {word}\n{USAGE}");
                    std::process::exit(2);
                }
                _ => options.words.push(word),
            }
        }
        options
    }

    /// Whether the words ask for a row of this name.
    pub fn asks_for(&self, what: &str) -> bool {
        self.words.iter().all(|word| what.contains(&**word))
    }

    /// For how long a row is measured.
    pub fn time_of_a_row(&self) -> Duration {
        Duration::from_secs_f64(if self.quick { 1.5 } else { 10.0 })
    }

    /// Between how many rounds a row has: an odd number, so that one of them is the median.
    pub fn rounds(&self) -> (usize, usize) {
        if self.quick { (5, 101) } else { (11, 501) }
    }
}
