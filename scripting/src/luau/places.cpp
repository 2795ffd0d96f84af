// One call for what a loop over many entities does in each row: several userdata out of the array part of a table onto
// the stack. Through the VM's public functions it takes two calls and a search for each, half of the row's time.
//
// Compiled by build.rs as switch.cpp is; places.rs does the same through the public interface where this file is left out.
#include "lua.h"

#include "lapi.h"
#include "lgc.h"
#include "lobject.h"
#include "lstate.h"

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
