//! What was measured: printed as it comes, saved as JSON, and as tables in Markdown.

use super::options::Options;
use super::program::built_here;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// The benches whose tables go into the README, in this order.
const IN_ORDER: [&str; 6] = ["speed", "memory", "gc", "components", "reload", "demo"];

/// What stands around the tables in README.md.
const MARKS: (&str, &str) = ("<!-- bench: begin -->\n", "<!-- bench: end -->\n");

/// How something relates to ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It bounds ours: the ratio is how many times as much as the limit ours takes.
    Limit,
    /// People would use it instead: the ratio is how many times as much as ours it takes.
    Peer,
}

/// What ours is compared with.
pub struct Against {
    pub kind: Kind,
    pub name: String,
    /// In the unit of the row.
    pub value: f64,
    /// The median of the rounds' ratios; above 1, theirs takes more, or ours takes more than its limit.
    pub ratio: f64,
    /// Between which values the middle half of the rounds' ratios is.
    pub spread: Option<(f64, f64)>,
    /// The most that the ratio may be, or the least for a peer.
    pub goal: Option<f64>,
}

impl Against {
    /// What was measured once, not by turns.
    pub fn once(kind: Kind, name: impl Into<String>, ours: f64, value: f64, goal: Option<f64>) -> Self {
        let ratio = if kind == Kind::Limit { ours / value } else { value / ours };
        Self { kind, name: name.into(), value, ratio, spread: None, goal }
    }

    fn met(&self) -> Option<bool> {
        let goal = self.goal?;
        Some(if self.kind == Kind::Limit { self.ratio <= goal } else { self.ratio >= goal })
    }
}

/// A row that was measured.
pub struct Measured {
    pub what: String,
    /// `ns`, `B`, or what else one of the operations costs.
    pub unit: &'static str,
    pub ours: f64,
    /// The most that ours may be.
    pub most: Option<f64>,
    pub against: Vec<Against>,
    pub rounds: usize,
}

thread_local! {
    /// Peers that are not here, and what to do about it.
    static SKIPPED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The rows of one bench.
pub struct Report<'a> {
    bench: &'static str,
    options: &'a Options,
    rows: Vec<Measured>,
}

impl<'a> Report<'a> {
    /// Prints how this bench is measured.
    pub fn new(bench: &'static str, options: &'a Options) -> Self {
        println!("\n{bench}: {}", machine());
        Self { bench, options, rows: Vec::new() }
    }

    /// Says, once, that a peer is not here.
    pub fn skip(reason: String) {
        println!("    skipped: {reason}");
        SKIPPED.with_borrow_mut(|skipped| skipped.push(reason));
    }

    /// Prints a row, and keeps it.
    pub fn add(&mut self, row: Measured) {
        let most = row.most.map(|most| (row.ours <= most, format!("at most {}", quantity(most, row.unit))));
        println!("\n{:<60} {:>10}{}", row.what, quantity(row.ours, row.unit), verdict(most));
        for against in &row.against {
            let (sign, word) = match against.kind {
                Kind::Limit => ("  of its limit,", "at most"),
                Kind::Peer => ("  beside", "at least"),
            };
            let goal = against.met().zip(against.goal).map(|(met, goal)| (met, format!("{word} {goal}")));
            let spread = against.spread.map_or(String::new(), |(low, high)| format!(" ({low:.2}-{high:.2})"));
            println!(
                "{:<60} {:>10} {:>7.2}{spread:<13}{}",
                format!("{sign} {}", against.name),
                quantity(against.value, row.unit),
                against.ratio,
                verdict(goal)
            );
        }
        self.rows.push(row);
    }

    /// Saves what there is, and says how the goals stand.
    pub fn finish(self) -> ExitCode {
        if self.options.alone.is_some() {
            return ExitCode::SUCCESS;
        }
        let goals: Vec<bool> = self.rows.iter().flat_map(Measured::goals).collect();
        let missed = goals.iter().filter(|met| !**met).count();
        println!("\n{}: {} goals met, {missed} missed", self.bench, goals.len() - missed);
        // A part of the rows must not stand for the whole.
        if self.options.words.is_empty() {
            let json = built_here(&format!("{}.json", self.bench));
            save(&json, &format!("{:#}\n", self.to_json()));
            let tables = tables();
            let markdown = built_here("results.md");
            save(&markdown, &tables);
            println!("saved in {} and {}", json.display(), markdown.display());
            if self.options.readme {
                into_readme(&tables);
            }
        }
        if self.options.strict && missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn to_json(&self) -> Value {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let rows: Vec<Value> = self.rows.iter().map(Measured::to_json).collect();
        json!({
            "bench": self.bench,
            "machine": machine(),
            "seconds_since_1970": since.as_secs(),
            "quick": self.options.quick,
            "skipped": SKIPPED.with_borrow(Clone::clone),
            "rows": rows,
        })
    }
}

impl Measured {
    /// Of each goal, whether it is met.
    fn goals(&self) -> Vec<bool> {
        let most = self.most.map(|most| self.ours <= most);
        self.against.iter().filter_map(Against::met).chain(most).collect()
    }

    fn to_json(&self) -> Value {
        let against = self.against.iter().map(|against| {
            json!({
                "kind": if against.kind == Kind::Limit { "limit" } else { "peer" },
                "name": against.name,
                "value": against.value,
                "ratio": against.ratio,
                "middle_half_of_ratios": against.spread.map(|(low, high)| [low, high]),
                "goal": against.goal,
                "met": against.met(),
            })
        });
        json!({
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours,
            "most": self.most,
            "rounds": self.rounds,
            "against": against.collect::<Vec<_>>(),
        })
    }
}

/// The tables of all benches that have been run here, from what they have saved.
fn tables() -> String {
    let mut text = String::new();
    for bench in IN_ORDER {
        let saved = std::fs::read_to_string(built_here(&format!("{bench}.json"))).unwrap_or_default();
        let Ok(saved) = serde_json::from_str::<Value>(&saved) else { continue };
        if text.is_empty() {
            let machine = saved["machine"].as_str().unwrap_or_default();
            let _ = writeln!(text, "Measured on {machine}.\n");
            text.push_str(
                "| what | ours | ours to its limit | goal | others to ours |\n|---|---|---|---|---|\n",
            );
        }
        for row in saved["rows"].as_array().into_iter().flatten() {
            text.push_str(&table_row(row));
        }
    }
    text
}

/// A row as Markdown.
fn table_row(row: &Value) -> String {
    let unit = row["unit"].as_str().unwrap_or_default();
    let against = |kind: &str| -> Vec<&Value> {
        row["against"].as_array().into_iter().flatten().filter(|against| against["kind"] == kind).collect()
    };
    let ratio = |against: &Value| {
        let ratio = against["ratio"].as_f64().unwrap_or_default();
        format!("{} {}", significant(ratio), against["name"].as_str().unwrap_or_default())
    };
    let goals = |of: &[&Value], word: &str| -> Vec<String> {
        let goal = |against: &&Value| {
            let missed = if against["met"] == false { ", missed" } else { "" };
            Some(format!("{word} {}{missed}", against["goal"].as_f64()?))
        };
        let mut goals: Vec<String> = of.iter().filter_map(goal).collect();
        goals.dedup();
        goals
    };
    let (limits, peers) = (against("limit"), against("peer"));
    let ours = row["ours"].as_f64().unwrap_or_default();
    let most = row["most"]
        .as_f64()
        .map(|most| format!("≤ {}{}", quantity(most, unit), if ours <= most { "" } else { ", missed" }));
    let goals: Vec<String> =
        most.into_iter().chain(goals(&limits, "≤")).chain(goals(&peers, "others ≥")).collect();
    let list = |of: Vec<&Value>| of.into_iter().map(ratio).collect::<Vec<_>>().join("<br>");
    format!(
        "| {} | {} | {} | {} | {} |\n",
        row["what"].as_str().unwrap_or_default(),
        quantity(ours, unit),
        list(limits),
        goals.join("<br>"),
        list(peers)
    )
}

fn into_readme(tables: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(&path).expect("README.md can be read");
    let parts =
        text.split_once(MARKS.0).and_then(|(before, rest)| Some((before, rest.split_once(MARKS.1)?.1)));
    let (before, after) = parts.expect("README.md has the marks that stand around its table");
    save(&path, &format!("{before}{}{tables}{}{after}", MARKS.0, MARKS.1));
}

fn save(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn verdict(goal: Option<(bool, String)>) -> String {
    goal.map_or(String::new(), |(met, goal)| format!("   {goal}: {}", if met { "met" } else { "missed" }))
}

/// A number of this unit, for people.
fn quantity(number: f64, unit: &str) -> String {
    match (unit, number) {
        ("ns", 1e6..) => format!("{} ms", significant(number / 1e6)),
        ("ns", 1e3..) => format!("{} µs", significant(number / 1e3)),
        _ => format!("{} {unit}", significant(number)),
    }
}

/// Three digits, or as many as stand before the point.
fn significant(number: f64) -> String {
    match number.abs() {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// The machine, as far as the system tells, and the VM.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores of {model}, Luau {}", mlua::ffi::luau_version().unwrap_or("of unknown version"))
}
