//! Script files as modules: each is evaluated once per VM, and `require` returns its value.

use super::ffi::*;
use super::machine::Machine;
use super::value::{self, describe};
use super::vm::Vm;
use crate::reload::Snapshot;
use crate::scheduler::Error;
use mlua::{Function, IntoLuaMulti, MultiValue, Table, Value};
use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int};
use std::rc::Rc;

/// Finds and reads modules for [`Vm::require`]; the VM itself knows no files.
pub trait Loader {
    /// The name of the module that `specifier` means in the module `from`, such as `ai/util` for
    /// `./util` in `ai/guard`. An error says what was looked for, and what there is instead.
    fn resolve(&self, from: &str, specifier: &str) -> Result<String, String>;

    /// The text of a module.
    fn read(&self, module: &str) -> Result<ModuleText, String>;

    /// Whether the module `from` may require `module`; an error says why not.
    fn may_require(&self, from: &str, module: &str) -> Result<(), Error> {
        let _ = (from, module);
        Ok(())
    }

    /// `from` has required `on`.
    fn required(&self, from: &str, on: &str) {
        let _ = (from, on);
    }
}

/// The text of a module, and the name under which messages speak of it.
#[derive(Clone, Debug)]
pub struct ModuleText {
    /// The name in messages, such as `ai/util.luau`.
    pub file: String,
    /// The source.
    pub text: Rc<str>,
}

/// Why a module could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{message}")]
pub struct ModuleError {
    /// The module that is at fault.
    pub module: String,
    /// What is wrong, for people: `file:line: ...` where known, with an excerpt of the source.
    pub message: String,
    /// The line at fault, counted from 1, where known.
    pub line: Option<u32>,
    /// What kind of fault it is.
    pub fault: ModuleFault,
}

/// What can be wrong with a module; each has a code in reload reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ModuleFault {
    /// It does not parse (RL001).
    Syntax,
    /// Its top level raised an error (RL002).
    Load,
    /// It returned nothing, or another type than before (RL003).
    Return,
    /// There is nothing in it (RL004).
    Empty,
    /// It was found by nobody, or could not be read (RL007).
    Unreadable,
    /// It requires itself, over others or not.
    Cycle,
}

impl ModuleFault {
    /// The code in reload reports.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Syntax => "RL001",
            Self::Load | Self::Cycle => "RL002",
            Self::Return => "RL003",
            Self::Empty => "RL004",
            Self::Unreadable => "RL007",
        }
    }
}

/// A module that has been evaluated.
pub(crate) struct Module {
    pub file: String,
    pub text: ModuleText,
    /// What it was before, the latest last.
    pub earlier: Vec<ModuleText>,
    /// Under which the reload knows its text.
    pub generation: u32,
    /// With which its text is evaluated: random numbers that it draws are the same each time.
    pub seed: u64,
    pub value: Value,
    /// What the value was when its text had just been evaluated: what the file says.
    pub base: Snapshot,
    /// Its globals.
    pub env: Option<Table>,
    pub env_base: Snapshot,
    /// The local variables of its top level, likewise.
    pub base_variables: BTreeMap<String, Snapshot>,
    pub version: u32,
}

/// The modules of a VM.
#[derive(Default)]
pub(crate) struct Modules {
    pub loader: Option<Rc<dyn Loader>>,
    pub loaded: BTreeMap<String, Module>,
    /// Those that are being evaluated, the innermost last.
    pub loading: Vec<String>,
    /// While new text is evaluated aside, modules of the same batch come from here.
    pub staged: Option<BTreeMap<String, Staged>>,
}

/// New text of a module, evaluated aside or not yet.
pub(crate) struct Staged {
    pub text: ModuleText,
    pub value: Option<Value>,
    pub env: Option<Table>,
    pub main: Option<Function>,
}

impl Staged {
    /// Text that was not evaluated yet.
    pub fn of(text: ModuleText) -> Self {
        Self { text, value: None, env: None, main: None }
    }
}

/// Safepoints (loop turns and calls) after which the top level of a file, or its `on_reload`, is taken
/// to run for ever.
const LOAD_TICKS: u64 = 20_000_000;

impl Vm {
    /// Sets where modules come from.
    pub fn set_loader(&self, loader: impl Loader + 'static) {
        self.modules.borrow_mut().loader = Some(Rc::new(loader));
    }

    /// Compiles a chunk with an environment of its own over the globals.
    pub fn load(&self, file: &str, text: &str) -> Result<Function, Error> {
        let name = CString::new(format!("={file}"))
            .map_err(|_| Error::wrong_type(format!("the file name {file:?} has a zero byte")))?;
        let mut options = lua_CompileOptions::default();
        // Names of locals and upvalues stay; nothing is inlined, so that a function can be replaced.
        options.debugLevel = 2;
        options.optimizationLevel = 1;
        // SAFETY: the text and the options outlive the call.
        let code = unsafe { luau_compile(text.as_bytes(), options) };
        let mut failed = None;
        // SAFETY: protected by mlua; the bytecode comes from the compiler just called. The stack ends
        // with the function alone, or empty.
        let function = unsafe {
            self.lua().exec_raw::<Option<Function>>((), |L| {
                luaL_checkstack(L, 6, std::ptr::null());
                lua_createtable(L, 0, 8);
                lua_createtable(L, 0, 1);
                lua_pushvalue(L, LUA_GLOBALSINDEX);
                lua_rawsetfield(L, -2, c"__index".as_ptr());
                lua_setreadonly(L, -1, 1);
                lua_setmetatable(L, -2);
                lua_setsafeenv(L, -1, 1);
                let status =
                    luau_load(L, name.as_ptr(), code.as_ptr().cast::<c_char>(), code.len(), lua_gettop(L));
                lua_remove(L, 1);
                if status != LUA_OK {
                    failed = Some(describe(L, -1));
                    lua_settop(L, 0);
                }
            })?
        };
        match (function, failed) {
            (Some(function), None) => Ok(function),
            (_, failed) => Err(Error::wrong_type(failed.unwrap_or_default())),
        }
    }

    /// The value of a module, which is evaluated if it wasn't yet.
    pub fn require(&self, module: &str) -> Result<Value, ModuleError> {
        let (loader, text) = {
            let modules = self.modules.borrow();
            if let Some(staged) = &modules.staged
                && let Some(Staged { value: Some(value), .. }) = staged.get(module)
            {
                return Ok(value.clone());
            }
            let staged = modules.staged.as_ref().and_then(|staged| staged.get(module));
            if staged.is_none()
                && let Some(loaded) = modules.loaded.get(module)
            {
                return Ok(loaded.value.clone());
            }
            if let Some(at) = modules.loading.iter().position(|name| name == module) {
                let mut path = modules.loading[at..].to_vec();
                path.push(module.into());
                return Err(ModuleError {
                    module: module.into(),
                    message: format!("modules require each other in a circle: {}", path.join(" -> ")),
                    line: None,
                    fault: ModuleFault::Cycle,
                });
            }
            (modules.loader.clone(), staged.map(|staged| staged.text.clone()))
        };
        let is_staged = text.is_some();
        let text = match (text, loader) {
            (Some(text), _) => Ok(text),
            (None, Some(loader)) => loader.read(module),
            (None, None) => Err("this VM has no loader, so modules can't be found".into()),
        };
        let text = text.map_err(|message| ModuleError {
            module: module.into(),
            message,
            line: None,
            fault: ModuleFault::Unreadable,
        })?;
        let outside = self.random_state();
        let seed = self.modules.borrow().loaded.get(module).map_or_else(
            || {
                outside
                    ^ module
                        .bytes()
                        .fold(0, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
            },
            |loaded| loaded.seed,
        );
        self.set_random_state(seed);
        self.modules.borrow_mut().loading.push(module.into());
        let evaluated = self.evaluate(module, &text);
        self.modules.borrow_mut().loading.pop();
        self.set_random_state(outside);
        let (value, main) = evaluated?;
        let env = main.environment();
        if is_staged {
            let mut modules = self.modules.borrow_mut();
            if let Some(staged) = modules.staged.as_mut().and_then(|staged| staged.get_mut(module)) {
                staged.value = Some(value.clone());
                staged.env = env;
                staged.main = Some(main);
            }
        } else {
            let env_base =
                env.as_ref().map_or(Snapshot::Nothing, |env| Snapshot::of(&Value::Table(env.clone())));
            let base = Snapshot::of(&value);
            let known = self.module_pointers();
            let base_variables =
                crate::reload::snapshot_variables(self, &value, env.as_ref(), &text.file, &known);
            let loaded = Module {
                file: text.file.clone(),
                generation: self.adopt(module, 1, &text, &main),
                text,
                earlier: Vec::new(),
                seed,
                value: value.clone(),
                base,
                env,
                env_base,
                base_variables,
                version: 1,
            };
            self.modules.borrow_mut().loaded.insert(module.into(), loaded);
        }
        Ok(value)
    }

    /// The value of a module if it has been evaluated.
    pub fn module(&self, module: &str) -> Option<Value> {
        self.modules.borrow().loaded.get(module).map(|module| module.value.clone())
    }

    /// Forgets the value of a module: its text is evaluated anew when it is required the next time.
    pub fn unload(&self, module: &str) {
        if let Some(module) = self.modules.borrow_mut().loaded.remove(module) {
            self.disown(module.generation);
        }
    }

    /// Runs the text of a module: what it returns, and its main function.
    fn evaluate(&self, module: &str, text: &ModuleText) -> Result<(Value, Function), ModuleError> {
        let fault = |fault, message: String| {
            let line = line_in(&text.file, &message);
            let message = match line {
                Some(line) => format!("{message}\n{}", excerpt(&text.text, line)),
                None => message,
            };
            ModuleError { module: module.into(), message, line, fault }
        };
        let function =
            self.load(&text.file, &text.text).map_err(|error| fault(ModuleFault::Syntax, error.message))?;
        let mut results =
            self.call_briefly(&function, ()).map_err(|message| fault(ModuleFault::Load, message))?;
        match (results.len(), results.pop_front()) {
            (1, Some(value)) if !value.is_nil() => Ok((value, function)),
            _ if text.text.trim().is_empty() => {
                Err(fault(ModuleFault::Empty, format!("{}: the file is empty", text.file)))
            }
            (n, _) => Err(fault(
                ModuleFault::Return,
                format!(
                    "{}: a script has to return one value, usually its table; this one returns {}",
                    text.file,
                    if n == 0 { "nothing".into() } else { format!("{n} values or nil") }
                ),
            )),
        }
    }

    /// Calls a function of a script outside of any tasklet. One that runs without end is ended.
    pub(crate) fn call_briefly(
        &self,
        function: &Function,
        arguments: impl IntoLuaMulti,
    ) -> Result<MultiValue, String> {
        let mut call = arguments.into_lua_multi(self.lua()).map_err(|error| error.to_string())?;
        call.push_front(Value::Function(function.clone()));
        let mut failed = None;
        // SAFETY: protected by mlua; the stack holds the function and its arguments alone.
        let results = unsafe {
            self.lua().exec_raw::<MultiValue>(call, |L| {
                let outer = super::interrupt::limit_load(L, LOAD_TICKS);
                lua_pushcfunctiond(L, name_what_was_nil, c"error handler".as_ptr());
                lua_insert(L, 1);
                let status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 1);
                lua_remove(L, 1);
                super::interrupt::end_limit(L, outer);
                if status != LUA_OK {
                    lua_insert(L, 1);
                    lua_settop(L, 1);
                    self.machine().name_memory(L, status);
                    failed = Some(describe(L, -1));
                    lua_settop(L, 0);
                }
            })
        };
        match failed {
            Some(message) => Err(message),
            None => results.map_err(|error| error.to_string()),
        }
    }

    /// Makes the global `require`.
    pub(super) fn install_require(&self) -> Result<(), Error> {
        self.with_state(|L| {
            // SAFETY: balanced pushes and pops below a protected call.
            unsafe {
                lua_pushcfunctiond(L, require, c"require".as_ptr());
                lua_setglobal(L, c"require".as_ptr());
            }
        })
    }

    fn require_from(&self, from: &str, specifier: &str) -> Result<Value, Error> {
        let (loader, from) = {
            let modules = self.modules.borrow();
            let (from, _) = crate::reload::split_version(from);
            let from = modules
                .loaded
                .iter()
                .find(|(_, module)| module.file == from)
                .map(|(name, _)| name.clone())
                .or_else(|| modules.loading.last().cloned())
                .unwrap_or_else(|| from.trim_end_matches(".luau").into());
            (modules.loader.clone(), from)
        };
        let loader =
            loader.ok_or_else(|| Error::wrong_type("this VM has no loader, so modules can't be found"))?;
        let module = loader.resolve(&from, specifier).map_err(Error::wrong_type)?;
        loader.may_require(&from, &module)?;
        // Noted before it is loaded: when a file at fault is mended, those that need it try again.
        loader.required(&from, &module);
        self.require(&module).map_err(|error| Error::wrong_type(error.message))
    }
}

/// `require(specifier)` of scripts.
unsafe extern "C-unwind" fn require(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM. The result is computed by code that doesn't raise; it
    // is pushed, or raised, when all that code owned is gone.
    unsafe {
        let Some(specifier) = value::to_bytes(L, 1) else {
            luaL_typeerror(L, 1, c"string".as_ptr());
        };
        let specifier = String::from_utf8_lossy(specifier).into_owned();
        let mut debug: lua_Debug = std::mem::zeroed();
        let mut from = String::new();
        if lua_getinfo(L, 1, c"s".as_ptr(), &mut debug) != 0 {
            from = std::ffi::CStr::from_ptr(debug.short_src).to_string_lossy().into_owned();
        }
        let result = match Machine::of(L).vm() {
            Some(vm) => vm.require_from(&from, &specifier).and_then(|value| {
                let lua = vm.lua();
                lua.exec_raw_lua(|raw| {
                    raw.push_value(&value)?;
                    lua_xmove(raw.state(), L, 1);
                    Ok(())
                })
            }),
            None => Err(Error::wrong_type("this VM has no modules")),
        };
        drop((specifier, from));
        match result {
            Ok(()) => 1,
            Err(Error { kind, message, .. }) => value::raise(L, kind, message),
        }
    }
}

/// The line that a message which begins with `file:line:` speaks of.
fn line_in(file: &str, message: &str) -> Option<u32> {
    message.strip_prefix(file)?.strip_prefix(':')?.split(':').next()?.parse().ok()
}

/// The line and its neighbours, with a mark at the line.
pub fn excerpt(text: &str, line: u32) -> String {
    let first = line.saturating_sub(1).max(1);
    text.lines()
        .zip(1u32..)
        .filter(|&(_, number)| (first..=line + 1).contains(&number))
        .map(|(text, number)| format!("{} {number:>4} | {text}", if number == line { '>' } else { ' ' }))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Adds to the message of an error, where it was raised, what was nil there by its name.
unsafe extern "C-unwind" fn name_what_was_nil(L: *mut lua_State) -> c_int {
    // SAFETY: called by the VM with an error, above the frames that have raised it.
    unsafe {
        lua_settop(L, 1);
        if let Some(vm) = Machine::of(L).vm()
            && let Some(message) = value::to_bytes(L, 1)
            && let Ok(message) = std::str::from_utf8(message)
        {
            let hint = vm.name_nil(L, 1, message);
            if !hint.is_empty() {
                value::push_str(L, &(message.to_owned() + &hint));
            }
        }
        1
    }
}
