//! `bluetick exec`: a file as the main tasklet of a fresh scheduler, without a world.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use bluetick_scripting::{Error, Failure, Loader, ModuleText, Vm, VmConfig};

/// Runs the file; what it prints goes to standard output. An error that leaves it is printed with its
/// traceback to standard error, and the exit status is 1 then.
pub fn exec(file: &Path, arguments: Vec<OsString>) -> ExitCode {
    match run(file, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &Path, arguments: Vec<OsString>) -> Result<(), String> {
    let text = read(file)?;
    let vm = Vm::new(VmConfig::default()).map_err(|error| error.message)?;
    bluetick::install_real_time(&vm).map_err(|error| error.message)?;
    print_lines(&vm).map_err(|error| error.to_string())?;
    vm.set_loader(Folder(file.parent().map(Path::to_owned).unwrap_or_default()));
    vm.seal().map_err(|error| error.message)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let main = vm.load(&name, &text).map_err(|Error { message, .. }| message)?;
    let arguments: Result<Vec<_>, _> =
        arguments.iter().map(|text| vm.lua().create_string(text.as_encoded_bytes())).collect();
    let arguments = arguments.map_err(|error| error.to_string())?;
    let arguments = arguments.into_iter().map(mlua::Value::String).collect::<mlua::MultiValue>();
    let ended = vm.run_main(&main, arguments);
    // Errors of tasklets that `uthread` has made, which nobody has waited for.
    for failure in vm.take_ended().into_iter().filter_map(|ended| ended.failure) {
        eprintln!("{}: {}\n{}", failure.name, failure.message, failure.traceback.trim_end());
    }
    ended
        .map_err(|Failure { message, traceback, .. }| format!("{message}\n{traceback}").trim_end().to_owned())
}

/// `print` by lines. The VM's own keeps back what it prints when another program reads it.
fn print_lines(vm: &Vm) -> mlua::Result<()> {
    let print = vm.lua().create_function(|_, values: mlua::Variadic<mlua::Value>| {
        let mut line = Vec::new();
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                line.push(b'\t');
            }
            match value {
                mlua::Value::String(text) => line.extend_from_slice(&text.as_bytes()),
                other => line.extend_from_slice(other.to_string()?.as_bytes()),
            }
        }
        line.push(b'\n');
        // Whoever reads may have gone.
        let _ = std::io::stdout().write_all(&line);
        Ok(())
    })?;
    vm.lua().globals().raw_set("print", print)
}

/// Modules are the files around the one that is run; a module's name is its path from there.
struct Folder(PathBuf);

impl Loader for Folder {
    fn resolve(&self, from: &str, specifier: &str) -> Result<String, String> {
        let below = if let Some(path) = specifier.strip_prefix("@scripts/") {
            PathBuf::from(path)
        } else if specifier.starts_with("./") || specifier.starts_with("../") {
            Path::new(from).parent().unwrap_or(Path::new("")).join(specifier)
        } else {
            return Err(format!(
                "require(\"{specifier}\"): a module is named by its path from this file, such as \"./{specifier}\""
            ));
        };
        Ok(normal(&below).to_string_lossy().replace('\\', "/"))
    }

    fn read(&self, module: &str) -> Result<ModuleText, String> {
        let file = format!("{module}.luau");
        let text = read(&self.0.join(&file))
            .or_else(|problem| read(&self.0.join(module).join("init.luau")).map_err(|_| problem))?;
        Ok(ModuleText { file, text: text.into() })
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// The path without `.` and, where it can be, without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specifier_is_a_path_from_the_requiring_file() {
        let folder = Folder(PathBuf::new());
        assert_eq!(folder.resolve("run", "./x").as_deref(), Ok("x"));
        assert_eq!(folder.resolve("ai/guard", "../x").as_deref(), Ok("x"));
        assert_eq!(folder.resolve("run", "../x").as_deref(), Ok("../x"));
        assert_eq!(folder.resolve("ai/guard", "@scripts/y/z").as_deref(), Ok("y/z"));
        assert!(folder.resolve("run", "x").is_err());
    }
}
