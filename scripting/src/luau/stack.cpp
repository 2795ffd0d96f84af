// Where stack.rs finds what it reads in place. Compiled by build.rs as switch.cpp is.
#include "lua.h"

#include "lobject.h"
#include "lstate.h"

#include <stddef.h>

// In the order of stack.rs.
extern "C" const size_t bluetick_stack_fields[];
const size_t bluetick_stack_fields[] = {
    offsetof(Udata, tag),
    offsetof(Udata, metatable),
    offsetof(Udata, data),
    offsetof(LuaTable, sizearray),
    offsetof(LuaTable, array),
    offsetof(TString, atom),
    offsetof(Closure, c.upvals),
    offsetof(TValue, value),
};
