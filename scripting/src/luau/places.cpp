// Where stack.rs finds what it reads in place; and one call for what a loop over many entities does in each row:
// several userdata out of the array part of a table onto the stack. Through the VM's public functions that takes two
// calls and a search for each, half of the row's time.
//
// Compiled by build.rs as switch.cpp is; stack.rs and places.rs do the same through the public interface where this file
// is left out.
#include "lua.h"

#include "lapi.h"
#include "lgc.h"
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

// Pushes what is at these places of the table at `index`, if each is in the array part and a userdata; else pushes nothing
// and returns 0. The caller has made sure of room on the stack and of a table at `index`. Neither allocates nor raises.
extern "C" int bt_push_places(lua_State* L, int index, const int* places, int count)
{
    const TValue* found = luaA_toobject(L, index);
    if (!found || !ttistable(found) || L->ci->top - L->top < count)
        return 0;
    const LuaTable* table = hvalue(found);
    luaC_threadbarrier(L);
    StkId top = L->top;
    for (int i = 0; i < count; i++)
    {
        unsigned place = unsigned(places[i]) - 1;
        if (place >= unsigned(table->sizearray) || !ttisuserdata(&table->array[place]))
            return 0;
        setobj2s(L, top + i, &table->array[place]);
    }
    L->top = top + count;
    return 1;
}
