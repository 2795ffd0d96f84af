//! A peer that is a program of its own: it is asked on its standard input, and answers a line.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

/// A running program. Its first line is its name with its version; then it answers each line, `WHAT COUNT...`, with
/// a number: nanoseconds of processor time, or whatever was asked for. It ends when its input does.
#[derive(Clone)]
pub struct Program {
    name: Rc<str>,
    pipes: Rc<RefCell<Pipes>>,
}

struct Pipes {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// If it can't be started, or ends without a word, with the last line of what it had to say about that.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut stdout = BufReader::new(stdout.ok_or_else(|| io::Error::other("no standard output"))?);
        let mut name = String::new();
        stdout.read_line(&mut name)?;
        if name.is_empty() {
            let output = child.wait_with_output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(said.trim().lines().last().unwrap_or("it said nothing").to_owned()));
        }
        // Nobody reads what it complains of later, and it must not wait for a reader.
        if let Some(mut complaints) = child.stderr.take() {
            std::thread::spawn(move || io::copy(&mut complaints, &mut io::stderr()));
        }
        Ok(Self { name: name.trim().into(), pipes: Rc::new(RefCell::new(Pipes { child, stdin, stdout })) })
    }

    /// Its name and version, as it says.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its answer.
    pub fn ask(&self, question: &str) -> f64 {
        let Pipes { stdin, stdout, .. } = &mut *self.pipes.borrow_mut();
        let mut answer = String::new();
        let asked = stdin.as_mut().ok_or_else(|| io::Error::other("it has ended")).and_then(|stdin| {
            writeln!(stdin, "{question}")?;
            stdin.flush()?;
            stdout.read_line(&mut answer)
        });
        match (asked, answer.trim().parse()) {
            (Ok(_), Ok(number)) => number,
            (asked, _) => panic!("{}: asked for '{question}', it answered '{answer}' ({asked:?})", self.name),
        }
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It ends by itself; a program that can't be waited for is the system's.
        let _ = self.child.wait();
    }
}

/// Where programs are built, and results are kept.
pub fn built_here(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench");
    std::fs::create_dir_all(&folder).expect("the target folder can be written to");
    folder.join(name)
}
