//! The functions of a module and their outer variables.

use super::merge::Living;
use crate::luau::Vm;
use crate::luau::ffi::*;
use mlua::{Function, Table, Value};
use std::collections::{BTreeMap, HashSet};
use std::ffi::{CStr, c_int, c_void};

/// All functions of one file that its value and its globals reach over tables, metatables and outer
/// variables. Read-only tables and the values in `known` are not entered.
pub(super) fn functions_of(
    vm: &Vm,
    value: &Value,
    env: Option<&Table>,
    file: &str,
    known: &[*const c_void],
) -> Vec<Function> {
    let mut walk = Walk { vm, file, seen: known.iter().copied().collect(), found: Vec::new() };
    walk.visit([Some(value.clone()), env.cloned().map(Value::Table)].into_iter().flatten().collect());
    walk.found
}

/// Wherever something that was evaluated aside refers to a table or function in whose place a live one goes on, it
/// refers to that one from now on: in fields, metatables and outer variables. Read-only tables and the
/// values in `known` are not entered.
pub(super) fn relink(vm: &Vm, roots: Vec<Value>, living: &Living, known: &[*const c_void]) {
    let live = |value: &Value| match value {
        Value::Table(_) | Value::Function(_) => living.get(&value.to_pointer()).map(|(_, live)| live.clone()),
        _ => None,
    };
    let mut seen: HashSet<_> = known.iter().copied().collect();
    let mut ahead = roots;
    while let Some(value) = ahead.pop() {
        if !seen.insert(value.to_pointer()) {
            continue;
        }
        match value {
            Value::Table(table) if !table.is_readonly() => {
                if let Some(meta) = table.metatable().map(Value::Table) {
                    if let Some(Value::Table(live)) = live(&meta) {
                        let _ = table.set_metatable(Some(live));
                    }
                    ahead.push(meta);
                }
                for (key, value) in table.pairs::<Value, Value>().filter_map(Result::ok).collect::<Vec<_>>() {
                    if let Some(live) = live(&value) {
                        let _ = table.raw_set(key.clone(), live);
                    }
                    ahead.extend([key, value].into_iter().filter(is_container));
                }
            }
            Value::Function(f) if f.info().what != "C" => {
                for (index, (_, value)) in outer_variables(vm, &f).into_iter().enumerate() {
                    if let Some(live) = live(&value) {
                        set_outer_variable(vm, &f, index, &live);
                    }
                    ahead.extend(Some(value).filter(is_container));
                }
            }
            _ => {}
        }
    }
}

struct Walk<'a> {
    vm: &'a Vm,
    file: &'a str,
    seen: HashSet<*const c_void>,
    found: Vec<Function>,
}

impl Walk<'_> {
    /// Looks at all that is `ahead`: a list, since a chain of tables may be longer than the stack.
    fn visit(&mut self, mut ahead: Vec<Value>) {
        while let Some(value) = ahead.pop() {
            if !self.seen.insert(value.to_pointer()) {
                continue;
            }
            match value {
                Value::Table(table) if !table.is_readonly() => {
                    ahead.extend(table.metatable().map(Value::Table));
                    for (key, value) in table.pairs::<Value, Value>().filter_map(Result::ok) {
                        ahead.extend([key, value].into_iter().filter(is_container));
                    }
                }
                Value::Function(f) if self.is_ours(&f) => {
                    ahead.extend(outer_variables(self.vm, &f).into_iter().map(|v| v.1).filter(is_container));
                    self.found.push(f);
                }
                _ => {}
            }
        }
    }

    fn is_ours(&self, f: &Function) -> bool {
        f.info().short_src.as_deref() == Some(self.file)
    }
}

fn is_container(value: &Value) -> bool {
    matches!(value, Value::Table(_) | Value::Function(_))
}

/// The outer variables of a function, in order: names and values.
pub(super) fn outer_variables(vm: &Vm, f: &Function) -> Vec<(String, Value)> {
    let mut variables = Vec::new();
    for n in 1.. {
        let mut name = None;
        // SAFETY: protected by mlua, which has pushed the function alone. The value, or nothing, is left.
        let value = unsafe {
            vm.lua().exec_raw::<Value>(f, |L| {
                let found = lua_getupvalue(L, 1, n);
                if !found.is_null() {
                    name = Some(CStr::from_ptr(found).to_string_lossy().into_owned());
                }
                lua_remove(L, 1);
            })
        };
        match (name, value) {
            (Some(name), Ok(value)) => variables.push((name, value)),
            _ => break,
        }
    }
    variables
}

/// Sets the outer variable with this number, counted from 0; whoever shares it sees it too.
pub(super) fn set_outer_variable(vm: &Vm, f: &Function, index: usize, value: &Value) {
    // SAFETY: protected by mlua, which has pushed the function and the value.
    let set = unsafe {
        vm.lua().exec_raw::<()>((f, value), |L| {
            lua_setupvalue(L, 1, index as c_int + 1);
            lua_settop(L, 0);
        })
    };
    if let Err(error) = set {
        tracing::warn!("reload: an outer variable could not be set: {error}");
    }
}

/// The local variables of a module's top level that its functions use, by name. A name that stands
/// for several variables is left out: nobody could say which is which.
pub(super) fn module_variables(vm: &Vm, functions: &[Function]) -> BTreeMap<String, Value> {
    let mut variables: BTreeMap<String, Option<Value>> = BTreeMap::new();
    for (name, value) in functions.iter().flat_map(|f| outer_variables(vm, f)) {
        variables
            .entry(name)
            .and_modify(|known| {
                if known.as_ref().is_some_and(|known| !super::merge::same(known, &value)) {
                    *known = None;
                }
            })
            .or_insert(Some(value));
    }
    variables.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// What [`Module::base_variables`](crate::luau::Module) is for a module that was just evaluated.
pub(crate) fn snapshot_variables(
    vm: &Vm,
    value: &Value,
    env: Option<&Table>,
    file: &str,
    known: &[*const c_void],
) -> BTreeMap<String, super::Snapshot> {
    let functions = functions_of(vm, value, env, file, known);
    let variables = module_variables(vm, &functions);
    variables.into_iter().map(|(name, value)| (name, super::Snapshot::of(&value))).collect()
}
