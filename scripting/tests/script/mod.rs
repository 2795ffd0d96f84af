//! Scripts in a VM of their own, and the few words that tests use in them.
#![allow(dead_code)] // each test file uses its part

pub mod clock;

use bluetick_scripting::{Failure, Loader, ModuleText, Vm, VmConfig};
use mlua::Function;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Globals of every test script. `eq` compares; `note` writes down that something took place, and
/// `notes` returns what was noted since the last time; `refused` calls a function that has to raise an
/// error of a kind whose text contains each of the words, and returns the error.
const WORDS: &str = r#"
local noted = {}
local words = {}
local function show(v)
    return if type(v) == "string" then string.format("%q", v) else tostring(v)
end
function words.eq(got, expected)
    if got ~= expected then
        error(`expected {show(expected)}, got {show(got)}`, 2)
    end
end
function words.note(...)
    local said = table.pack(...)
    for index = 1, said.n do
        said[index] = tostring(said[index])
    end
    table.insert(noted, table.concat(said, ":"))
end
function words.notes()
    local all = table.concat(noted, " ")
    table.clear(noted)
    return all
end
function words.refused(kind, contains, f, ...)
    local ok, err = pcall(f, ...)
    if ok then
        error(`expected an error of kind '{kind}', but the call succeeded`, 2)
    end
    if type(err) ~= "table" or err.kind ~= kind then
        error(`expected an error of kind '{kind}', got {if type(err) == "table" then err.kind else "none"}: {err}`, 2)
    end
    for _, text in contains do
        if not string.find(err.message, text, 1, true) then
            error(`expected the text {show(text)} in {show(err.message)}`, 2)
        end
    end
    return err
end
return words
"#;

/// A sealed VM with the words above.
pub fn vm() -> Rc<Vm> {
    vm_with(VmConfig::default(), |_| ())
}

/// As [`vm`], with a limit on its memory, and with what `add` puts there before it is sealed.
pub fn vm_with(config: VmConfig, add: impl FnOnce(&Vm)) -> Rc<Vm> {
    let vm = Vm::new(config).expect("a VM can be made");
    let words: mlua::Table =
        vm.load("words.luau", WORDS).expect("the words parse").call(()).expect("the words load");
    for pair in words.pairs::<String, Function>() {
        let (name, f) = pair.expect("a word is a function");
        vm.lua().globals().raw_set(name, f).expect("globals can be set before the VM is sealed");
    }
    add(&vm);
    vm.seal().expect("a VM can be sealed");
    vm
}

/// A function of the script.
pub fn load(vm: &Vm, text: &str) -> Function {
    match vm.load("test.luau", text) {
        Ok(function) => function,
        Err(error) => panic!("the test script does not parse: {error}"),
    }
}

/// Runs a script as the main tasklet of `vm`; it has to end without an error.
pub fn run_in(vm: &Vm, text: &str) {
    if let Err(Failure { message, traceback, .. }) = vm.run_main(&load(vm, text), ()) {
        panic!("{message}\n{traceback}");
    }
}

/// Runs a script as the main tasklet of a VM of its own; it has to end without an error.
pub fn run(text: &str) {
    run_in(&vm(), text);
}

/// Runs a script as the main tasklet of a VM of its own; it has to end with an error.
pub fn failure(text: &str) -> Failure {
    let vm = vm();
    vm.run_main(&load(&vm, text), ()).expect_err("the script has to fail")
}

/// Starts a script as a tasklet of the host's, without running it.
pub fn spawn(vm: &Vm, text: &str) -> bluetick_scripting::TaskletId {
    vm.spawn(&load(vm, text), (), Default::default()).expect("a tasklet can be made")
}

/// Runs all that is runnable; the ends that the VM has noted must all be without failure.
pub fn frame(vm: &Vm) {
    vm.run_ready(|| true);
    for ended in vm.take_ended() {
        if let Some(failure) = ended.failure {
            panic!("{}: {}\n{}", failure.name, failure.message, failure.traceback);
        }
    }
}

/// What was noted since the last time.
pub fn notes(vm: &Vm) -> String {
    let notes: Function = vm.lua().globals().get("notes").expect("the word exists");
    notes.call(()).expect("notes are text")
}

/// Script files that live in memory.
#[derive(Clone, Default)]
pub struct Files(Rc<RefCell<BTreeMap<String, String>>>);

impl Files {
    /// Files with these names (without `.luau`) and texts.
    pub fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        let these = Self::default();
        for (name, text) in files {
            these.write(name, text);
        }
        these
    }

    /// Writes one.
    pub fn write(&self, name: &str, text: &str) {
        self.0.borrow_mut().insert(name.into(), text.into());
    }

    /// The text of one, as a change for [`Vm::reload`].
    pub fn change(&self, name: &str) -> (String, ModuleText) {
        (name.into(), self.read(name).expect("the file was written"))
    }

    /// Writes files and reloads them together.
    pub fn save<const N: usize>(
        &self,
        vm: &Vm,
        files: [(&str, &str); N],
    ) -> bluetick_scripting::ReloadReport {
        for (name, text) in files {
            self.write(name, text);
        }
        vm.reload(files.iter().map(|(name, _)| self.change(name)).collect())
    }

    /// A sealed VM that finds these files.
    pub fn vm(&self) -> Rc<Vm> {
        let vm = vm();
        vm.set_loader(self.clone());
        vm
    }
}

impl Loader for Files {
    fn resolve(&self, from: &str, specifier: &str) -> Result<String, String> {
        let (up, name) = match specifier.strip_prefix("../") {
            Some(name) => (1, name),
            None => (0, specifier.strip_prefix("./").ok_or("a specifier begins with ./ or ../")?),
        };
        let mut path: Vec<&str> = from.split('/').collect();
        path.truncate(path.len().saturating_sub(1 + up));
        path.extend(name.split('/'));
        let module = path.join("/");
        match self.0.borrow().contains_key(&module) {
            true => Ok(module),
            false => Err(format!("no module '{module}' (for '{specifier}' in {from})")),
        }
    }

    fn read(&self, module: &str) -> Result<ModuleText, String> {
        let files = self.0.borrow();
        let text = files.get(module).ok_or_else(|| format!("no file for the module '{module}'"))?;
        Ok(ModuleText { file: format!("{module}.luau"), text: text.as_str().into() })
    }
}
