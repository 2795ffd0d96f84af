// The calls of the VM that every switch makes, without what a switch has no use for.
//
// Compiled by build.rs against the private headers of the very VM that mlua-sys builds, as the reload's
// internals.cpp is; switch.rs says what a caller keeps, and does the same through the public interface where
// this file is left out.
#include "lua.h"

#include "lapi.h"
#include "ldo.h"
#include "lgc.h"
#include "lobject.h"
#include "lstate.h"
#include "lvm.h"

#include <stddef.h>

namespace
{
// Raises again what is being handled, for the VM to make a status of it.
void raise_again(lua_State*, void*)
{
    throw;
}

void rest(lua_State* L)
{
    L->nCcalls = L->baseCcalls = 0;
    L->isactive = false;
}

// It has broken in a C function that has nothing more to do, and that a Luau function has called by an
// ordinary call.
bool is_plain(lua_State* L)
{
    CallInfo* ci = L->ci;
    if (L->status != LUA_BREAK || ci - L->base_ci < 2)
        return false;
    const Closure* called = clvalue(ci->func);
    return called->isC && !called->c.cont && isLua(ci - 1) && !((ci - 1)->flags & LUA_CALLINFO_OPYIELD);
}

// The C function returns what is on top; as a rule that is one value, for which there is one use or none.
void return_from_call(lua_State* L, int nargs)
{
    CallInfo* ci = L->ci;
    if (LUAU_UNLIKELY(nargs != 1 || unsigned(ci->nresults) > 1))
        return luau_poscall(L, L->top - nargs);
    if (ci->nresults == 1)
        setobj2s(L, ci->func, L->top - 1);
    --ci;
    L->ci = ci;
    L->base = ci->base;
    L->top = ci->top;
}
} // namespace

extern "C"
{

enum
{
    BLUETICK_RAISED = -1,     // the error is on top of the stack, and lua_resumeerror is to be called
    BLUETICK_NO_MEMORY = -2,  // the same, but the error is still to be pushed
};

int bluetick_resume(lua_State* L, int nargs)
{
    if (!is_plain(L))
        return lua_resume(L, nullptr, nargs);
    L->nCcalls = L->baseCcalls = 1;
    L->isactive = true;
    luaC_threadbarrier(L);
    int status = LUA_OK;
    try
    {
        // What the C function waits for is what it returns.
        L->status = LUA_OK;
        return_from_call(L, nargs);
        luau_execute(L);
    }
    catch (...)
    {
        status = luaD_rawrunprotected(L, raise_again, nullptr);
    }
    if (LUAU_LIKELY(status == LUA_OK))
    {
        if (LUAU_LIKELY(L->status == LUA_BREAK || L->status == LUA_YIELD))
        {
            rest(L);
            return L->status;
        }
        if (L->status == LUA_OK && L->ci == L->base_ci)
        {
            expandstacklimit(L, L->top);
            rest(L);
            return LUA_OK;
        }
        // A Luau function has returned to a C function that waits for it, or is entered by one.
        L->status = LUA_BREAK;
        return lua_resume(L, nullptr, 0);
    }
    L->status = LUA_BREAK;
    if (status == LUA_ERRMEM)
        return BLUETICK_NO_MEMORY;
    luaD_seterrorobj(L, status, status == LUA_ERRRUN ? L->top - 1 : L->top);
    return BLUETICK_RAISED;
}

// Where state.rs takes these to be, in its order.
extern const size_t bluetick_fields[];
const size_t bluetick_fields[] = {
    offsetof(lua_State, marked),
    offsetof(lua_State, status),
    offsetof(lua_State, top),
    offsetof(lua_State, base),
    offsetof(lua_State, global),
    offsetof(lua_State, nCcalls),
    offsetof(lua_State, baseCcalls),
    offsetof(lua_State, gclist),
    offsetof(lua_State, userdata),
    offsetof(TValue, tt),
    sizeof(TValue),
    bitmask(BLACKBIT),
    offsetof(Udata, data),
};

// Where in what all coroutines share the list is of objects that the collector has to look at again.
extern const size_t bluetick_grayagain;
const size_t bluetick_grayagain = offsetof(global_State, grayagain);
}
