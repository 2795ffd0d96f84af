// What the reload has to know of the VM's insides: primitive operations on prototypes, closures and the
// stacks of suspended coroutines. No policy: what is to be done is decided in Rust.
//
// Compiled by build.rs against the headers of the very VM that mlua-sys builds; its hash there stands for
// a review of the headers and sources named there. Rules that every caller keeps (mod.rs):
//   * no coroutine of the VM runs, and the collector is stopped, from the first call to the last;
//   * whatever is passed in was obtained since then, so it is alive.
// Functions that allocate catch the VM's exception themselves: none leaves this file.
#include "lua.h"

#include "lapi.h"
#include "ldebug.h"
#include "ldo.h"
#include "lfunc.h"
#include "lgc.h"
#include "lmem.h"
#include "lobject.h"
#include "lstate.h"
#include "lstring.h"
#include "lvm.h"

#include "Luau/Bytecode.h"
#include "Luau/BytecodeUtils.h"

#include <string.h>

// code.rs has these numbers.
static_assert(LOP__COUNT == 91, "the opcodes have changed");
static_assert(LOP_LOADNIL == 2 && LOP_GETIMPORT == 12 && LOP_NEWCLOSURE == 19 && LOP_CALL == 21, "opcodes");
static_assert(LOP_FORNPREP == 56 && LOP_FORGLOOP == 58 && LOP_DUPCLOSURE == 64 && LOP_CAPTURE == 70, "opcodes");
static_assert(LOP_FORGPREP == 76 && LOP_IDIVK == 82 && LOP_NAMECALLUDATA == 85 && LOP_CALLFB == 87, "opcodes");
static_assert(LCT_VAL == 0 && LCT_REF == 1 && LCT_UPVAL == 2, "kinds of capture");
static_assert(sizeof(TValue) == 16 && sizeof(Instruction) == 4, "layout");

namespace
{
template<typename F>
bool guarded(lua_State* L, F&& f)
{
    struct Call
    {
        static void run(lua_State*, void* data)
        {
            (*static_cast<F*>(data))();
        }
    };
    return luaD_rawrunprotected(L, Call::run, &f) == LUA_OK;
}

CallInfo* frame_at(lua_State* thread, int frame)
{
    return thread->base_ci + frame;
}

uint64_t id_of(const Proto* p)
{
    return uint64_t(uintptr_t(p->userdata));
}

// Its code or constants are changed: machine code that was made of them is not entered any more.
void interpret(Proto* p)
{
    p->codeentry = p->code;
    p->exectarget = 0;
}
} // namespace

extern "C"
{

struct BtSlot // a TValue, as Rust keeps it
{
    uint64_t words[2];
};

struct BtText
{
    const char* data;
    size_t len;
};

struct BtProto
{
    const uint32_t* code;
    const uint8_t* plain_ops; // opcodes below breakpoints, or null
    Proto* const* children;
    BtText name;
    uint64_t id;
    int code_len, children_len, locals_len, constants_len, names_len, line;
    uint8_t upvalues, parameters, vararg, stack;
};

struct BtLocal
{
    BtText name;
    int start, end, reg;
};

struct BtConstant
{
    int kind; // 0 nil 1 boolean 2 number 3 string 4 closure 5 something else
    uint64_t bits;
    BtText text;
};

struct BtFrame
{
    Closure* closure; // null if it runs a C function
    Proto* proto;     // what it runs
    Closure* native;  // the C function, if it runs one
    uint64_t id;
    int pc; // words, behind the instruction that waits
    int func, base, top;
    int results;
    uint32_t flags;
};

struct BtSource // what a register gets
{
    int kind; // 0 nil 1 the register `reg` 2 the value
    int reg;
    BtSlot value;
};

static BtText text_of(const TString* s)
{
    return s ? BtText{getstr(s), s->len} : BtText{nullptr, 0};
}

static TValue* value_of(BtSlot* slot)
{
    return reinterpret_cast<TValue*>(slot);
}

// Compares what the headers say with what the public functions say: 0, or which comparison failed.
int bluetick_self_check(lua_State* L)
{
    if (!lua_checkstack(L, 4))
        return 1;
    if (L->global->mainthread != lua_mainthread(L))
        return 2;
    int top = lua_gettop(L);
    if (int(L->top - L->base) != top)
        return 3;
    lua_pushvector(L, 1.0f, 2.0f, 3.0f);
    bool same = ttype(L->top - 1) == lua_type(L, -1) && int(L->top - L->base) == top + 1;
    lua_settop(L, top);
    if (!same)
        return 4;
    if (&L->global->cb != lua_callbacks(L))
        return 5;
    void* data = lua_getthreaddata(L);
    lua_setthreaddata(L, &top);
    same = L->userdata == &top;
    lua_setthreaddata(L, data);
    if (!same)
        return 6;
    if (L->global->totalbytes != lua_totalbytes(L, -1))
        return 7;
    int tag = LUA_UTAG_LIMIT - 1;
    if (lua_getuserdatadtor(L, tag) != L->global->udatagc[tag])
        return 8;
    // With machine code come instructions and prototypes that change while they run: not reviewed.
    if (L->global->ecb.enter != nullptr)
        return 9;
    return 0;
}

// Checks of a function that was loaded from known text: its prototype reads as the public functions say.
int bluetick_self_check_function(lua_State* L, int index)
{
    const TValue* o = luaA_toobject(L, index);
    if (!ttisfunction(o) || clvalue(o)->isC)
        return 20;
    const Proto* p = clvalue(o)->l.p;
    lua_Debug ar;
    if (!lua_getinfo(L, index - lua_gettop(L) - 1, "sau", &ar)) // below 0 it is an index of the stack
        return 21;
    if (ar.linedefined != p->linedefined && !(p->linedefined == 0))
        return 22;
    if (ar.nparams != p->numparams || (ar.isvararg != 0) != (p->is_vararg != 0))
        return 23;
    if (ar.nupvals != p->nups || clvalue(o)->nupvalues != p->nups)
        return 24;
    if (clvalue(o)->stacksize != p->maxstacksize || p->userdata != nullptr)
        return 25;
    return 0;
}

void bluetick_visit(
    lua_State* L,
    void* context,
    void (*on_closure)(void*, Closure*, uint64_t, int),
    void (*on_thread)(void*, lua_State*),
    void (*on_proto)(void*, Proto*, uint64_t)
)
{
    struct Visit
    {
        global_State* g;
        void* context;
        void (*on_closure)(void*, Closure*, uint64_t, int);
        void (*on_thread)(void*, lua_State*);
        void (*on_proto)(void*, Proto*, uint64_t);
    } visit = {L->global, context, on_closure, on_thread, on_proto};
    luaM_visitgco(
        L,
        &visit,
        [](void* data, lua_Page*, GCObject* o) -> bool
        {
            Visit* v = static_cast<Visit*>(data);
            // Garbage that was not swept yet may refer to what is freed already.
            if (isdead(v->g, o))
                return false;
            if (o->gch.tt == LUA_TFUNCTION)
            {
                Closure* c = gco2cl(o);
                if (!c->isC && c->l.p && c->l.p->userdata)
                    v->on_closure(v->context, c, id_of(c->l.p), c->preload);
            }
            else if (o->gch.tt == LUA_TTHREAD)
                v->on_thread(v->context, gco2th(o));
            else if (o->gch.tt == LUA_TPROTO && gco2p(o)->userdata)
                v->on_proto(v->context, gco2p(o), id_of(gco2p(o)));
            return false;
        }
    );
}

void bluetick_validate(lua_State* L)
{
    luaC_validate(L);
}

uint64_t bluetick_random(lua_State* L)
{
    return L->global->rngstate;
}

void bluetick_set_random(lua_State* L, uint64_t state)
{
    L->global->rngstate = state;
}

// ---- prototypes

Closure* bluetick_closure_at(lua_State* L, int index)
{
    const TValue* o = luaA_toobject(L, index);
    return ttisfunction(o) && !clvalue(o)->isC ? clvalue(o) : nullptr;
}

Proto* bluetick_proto_of(Closure* c)
{
    return c->l.p;
}

void bluetick_read_proto(const Proto* p, BtProto* out)
{
    out->code = p->code;
    out->plain_ops = p->debuginsn;
    out->children = p->p;
    out->name = text_of(p->debugname);
    out->id = id_of(p);
    out->code_len = p->sizecode;
    out->children_len = p->sizep;
    out->locals_len = p->sizelocvars;
    out->constants_len = p->sizek;
    out->names_len = p->sizeupvalues;
    out->line = p->linedefined;
    out->upvalues = p->nups;
    out->parameters = p->numparams;
    out->vararg = p->is_vararg;
    out->stack = p->maxstacksize;
}

void bluetick_read_local(const Proto* p, int i, BtLocal* out)
{
    const LocVar& v = p->locvars[i];
    *out = BtLocal{text_of(v.varname), v.startpc, v.endpc, v.reg};
}

BtText bluetick_upvalue_name(const Proto* p, int i)
{
    return text_of(p->upvalues[i]);
}

int bluetick_line(Proto* p, int pc)
{
    return luaG_getline(p, pc);
}

int bluetick_op_length(int op)
{
    return Luau::getOpLength(LuauOpcode(op));
}

// A closure's bits are the prototype that it was made for.
void bluetick_read_constant(const Proto* p, int i, BtConstant* out)
{
    const TValue* o = &p->k[i];
    *out = BtConstant{5, uint64_t(ttype(o)), BtText{nullptr, 0}};
    if (ttisnil(o))
        *out = BtConstant{0, 0, BtText{nullptr, 0}};
    else if (ttisboolean(o))
        *out = BtConstant{1, uint64_t(bvalue(o)), BtText{nullptr, 0}};
    else if (ttisnumber(o))
    {
        double n = nvalue(o);
        out->kind = 2;
        memcpy(&out->bits, &n, sizeof n);
    }
    else if (ttisstring(o))
        *out = BtConstant{3, 0, text_of(tsvalue(o))};
    else if (ttisfunction(o) && !clvalue(o)->isC)
        *out = BtConstant{4, uint64_t(uintptr_t(clvalue(o)->l.p)), BtText{nullptr, 0}};
    else if (ttisvector(o))
        memcpy(&out->bits, vvalue(o), sizeof out->bits);
}

void bluetick_set_id(Proto* p, uint64_t id)
{
    p->userdata = reinterpret_cast<void*>(uintptr_t(id));
}

// From now on messages name the text of this prototype by the string at `index`.
void bluetick_set_source(lua_State* L, Proto* p, int index)
{
    TString* s = tsvalue(luaA_toobject(L, index));
    p->source = s;
    luaC_objbarrier(L, p, s);
}

void bluetick_set_child(lua_State* L, Proto* p, int i, Proto* child)
{
    p->p[i] = child;
    luaC_objbarrier(L, p, child);
}

// The constant that the instruction at `pc` loads; 0 if it loads none.
int bluetick_loaded_constant(const Proto* p, int pc, BtSlot* out)
{
    Instruction i = p->code[pc];
    TValue* o = value_of(out);
    switch (LUAU_INSN_OP(i))
    {
    case LOP_LOADNIL:
        setnilvalue(o);
        return 1;
    case LOP_LOADB:
        setbvalue(o, LUAU_INSN_B(i));
        return LUAU_INSN_C(i) == 0;
    case LOP_LOADN:
        setnvalue(o, LUAU_INSN_D(i));
        return 1;
    case LOP_LOADK:
        *o = p->k[LUAU_INSN_D(i)];
        return 1;
    case LOP_LOADKX:
        *o = p->k[p->code[pc + 1]];
        return 1;
    default:
        return 0;
    }
}

// ---- values

int bluetick_is_cell(const BtSlot* slot)
{
    return reinterpret_cast<const TValue*>(slot)->tt == LUA_TUPVAL;
}

// Pushes what a slot holds, or what its cell holds. The stack has room.
void bluetick_push(lua_State* L, BtSlot* slot)
{
    TValue* o = value_of(slot);
    setobj2s(L, L->top, ttisupval(o) ? upvalue(o)->v : o);
    L->top++;
}

void bluetick_value_at(lua_State* L, int index, BtSlot* out)
{
    *value_of(out) = *luaA_toobject(L, index);
}

void bluetick_set_cell(lua_State* L, BtSlot* slot, int index)
{
    UpVal* cell = upvalue(value_of(slot));
    setobj(L, cell->v, luaA_toobject(L, index));
    luaC_barrier(L, cell, cell->v);
}

// A closed cell with the value at `index`; 0 without memory. It has to be given to a closure at once.
int bluetick_new_cell(lua_State* L, int index, BtSlot* out)
{
    return guarded(
        L,
        [&]
        {
            UpVal* cell = luaM_newgco(L, UpVal, sizeof(UpVal), L->activememcat, LUA_TUPVAL);
            luaC_init(L, cell, LUA_TUPVAL);
            cell->markedopen = 0;
            setobj(L, &cell->u.value, luaA_toobject(L, index));
            cell->v = &cell->u.value;
            setupvalue(L, value_of(out), cell);
        }
    );
}

// ---- closures

int bluetick_closure_slots(const Closure* c)
{
    return c->nupvalues;
}

void bluetick_slot(const Closure* c, int i, BtSlot* out)
{
    *value_of(out) = c->l.uprefs[i];
}

void bluetick_set_slot(lua_State* L, Closure* c, int i, BtSlot* slot)
{
    TValue* o = value_of(slot);
    setobj(L, &c->l.uprefs[i], o);
    luaC_barrier(L, c, o);
}

// The closure runs another prototype, of as many upvalues, from its next call on.
void bluetick_repoint(lua_State* L, Closure* c, Proto* p)
{
    LUAU_ASSERT(c->nupvalues == p->nups);
    c->l.p = p;
    c->stacksize = p->maxstacksize; // cached
    luaC_objbarrier(L, c, p);
}

LuaTable* bluetick_environment(const Closure* c)
{
    return c->env;
}

void bluetick_set_environment(lua_State* L, Closure* c, LuaTable* env)
{
    c->env = env;
    luaC_objbarrier(L, c, env);
}

// A closure of `p` with the environment of `like` and empty slots; null without memory.
Closure* bluetick_new_closure(lua_State* L, Proto* p, const Closure* like)
{
    Closure* c = nullptr;
    guarded(L, [&] { c = luaF_newLclosure(L, p->nups, like->env, p); });
    return c;
}

// Makes the prototype of the function at `index`, which calls its only string constant, one that calls `to`;
// closures of `slots` upvalues can be re-pointed to it. The function itself gets the prototype `other`, as
// the number of its upvalues isn't that of its own any more.
Proto* bluetick_make_forwarder(lua_State* L, int index, Proto* other, Closure* to, int slots)
{
    Closure* loaded = clvalue(luaA_toobject(L, index));
    Proto* p = loaded->l.p;
    LUAU_ASSERT(loaded->nupvalues == other->nups);
    interpret(p);
    for (int i = 0; i < p->sizek; i++)
        if (ttisstring(&p->k[i]))
        {
            setclvalue(L, &p->k[i], to);
            luaC_objbarrier(L, p, to);
        }
    loaded->l.p = other;
    loaded->stacksize = other->maxstacksize;
    luaC_objbarrier(L, loaded, other);
    p->nups = uint8_t(slots);
    return p;
}

// ---- prototypes of another layout

// Has a prototype, which nobody runs yet, find its upvalues at other places: upvalue i at `places[i]` of `slots`.
int bluetick_relocate_upvalues(lua_State* L, Proto* p, const uint8_t* places, int slots)
{
    bool grown = guarded(
        L,
        [&]
        {
            luaM_reallocarray(L, p->upvalues, p->sizeupvalues, slots, TString*, p->memcat);
        }
    );
    if (!grown)
        return 0;
    TString* names[256];
    int old = p->sizeupvalues < p->nups ? p->sizeupvalues : p->nups;
    for (int i = 0; i < old && i < 256; i++)
        names[i] = i < slots ? p->upvalues[i] : nullptr;
    for (int i = 0; i < slots; i++)
        p->upvalues[i] = nullptr;
    for (int i = 0; i < old; i++)
        p->upvalues[places[i]] = names[i];
    p->sizeupvalues = slots;
    p->nups = uint8_t(slots);
    interpret(p);
    for (int pc = 0; pc < p->sizecode; pc += Luau::getOpLength(LuauOpcode(LUAU_INSN_OP(p->code[pc]))))
    {
        Instruction& i = p->code[pc];
        int op = LUAU_INSN_OP(i);
        if (op == LOP_GETUPVAL || op == LOP_SETUPVAL || (op == LOP_CAPTURE && LUAU_INSN_A(i) == LCT_UPVAL))
            i = (i & 0xff00ffffu) | (uint32_t(places[LUAU_INSN_B(i)]) << 16);
    }
    return 1;
}

// Has `p`, loaded from the same text as `like`, make the functions that `like` makes.
void bluetick_share_children(lua_State* L, Proto* p, const Proto* like)
{
    for (int i = 0; i < p->sizep; i++)
        bluetick_set_child(L, p, i, like->p[i]);
    for (int i = 0; i < p->sizek; i++)
        if (ttisfunction(&p->k[i]))
        {
            setobj(L, &p->k[i], &like->k[i]);
            luaC_barrier(L, p, &p->k[i]);
        }
}

// The closure that is a constant, from which code makes its own; null if it is something else.
Closure* bluetick_template(const Proto* p, int i)
{
    return ttisfunction(&p->k[i]) && !clvalue(&p->k[i])->isC ? clvalue(&p->k[i]) : nullptr;
}

void bluetick_set_template(lua_State* L, Proto* p, int i, Closure* c, int unused)
{
    setclvalue(L, &p->k[i], c);
    luaC_objbarrier(L, p, c);
    c->preload = uint8_t(unused);
}

// ---- suspended coroutines

struct BtThread
{
    int status; // 0 ended or not started, 1 yielded, 6 broken; others failed
    int active;
    int frames; // the outermost has number 1
    int capacity;
};

void bluetick_read_thread(const lua_State* thread, BtThread* out)
{
    out->status = thread->status;
    out->active = thread->isactive;
    out->frames = int(thread->ci - thread->base_ci);
    out->capacity = int(thread->stack_last - thread->stack);
}

void bluetick_read_frame(lua_State* thread, int frame, BtFrame* out)
{
    CallInfo* ci = frame_at(thread, frame);
    Closure* c = ttisfunction(ci->func) ? clvalue(ci->func) : nullptr;
    bool lua = c && !c->isC;
    out->closure = lua ? c : nullptr;
    out->native = c && c->isC ? c : nullptr;
    out->proto = lua ? ci->p : nullptr;
    out->id = lua ? id_of(ci->p) : 0;
    out->pc = lua ? int(ci->savedpc - ci->p->code) : 0;
    out->func = int(ci->func - thread->stack);
    out->base = int(ci->base - thread->stack);
    out->top = int(ci->top - thread->stack);
    out->results = ci->nresults;
    out->flags = ci->flags;
}

// A coroutine that is the first upvalue of a C function; null if it is something else.
lua_State* bluetick_wrapped_thread(const Closure* c)
{
    return c->isC && c->nupvalues == 1 && ttisthread(&c->c.upvals[0]) ? thvalue(&c->c.upvals[0]) : nullptr;
}

int bluetick_has_continuation(const Closure* c)
{
    return c->isC && c->c.cont != nullptr;
}

// Sets a bit for each register of the frame that an open upvalue refers to.
void bluetick_open_registers(lua_State* thread, int frame, uint64_t bits[4])
{
    CallInfo* ci = frame_at(thread, frame);
    StkId end = frame < int(thread->ci - thread->base_ci) ? (ci + 1)->func : thread->top;
    bits[0] = bits[1] = bits[2] = bits[3] = 0;
    for (UpVal* u = thread->openupval; u; u = u->u.open.threadnext)
        if (u->v >= ci->base && u->v < end && u->v - ci->base < 256)
            bits[(u->v - ci->base) >> 6] |= uint64_t(1) << ((u->v - ci->base) & 63);
}

int bluetick_register_is(lua_State* thread, int frame, int reg, BtSlot* slot)
{
    return luaO_rawequalObj(frame_at(thread, frame)->base + reg, value_of(slot));
}

void bluetick_push_register(lua_State* L, lua_State* thread, int frame, int reg)
{
    setobj2s(L, L->top, frame_at(thread, frame)->base + reg);
    L->top++;
}

// Makes room for `size` values; 0 without memory.
int bluetick_reserve(lua_State* thread, int size)
{
    if (size <= thread->stack_last - thread->stack)
        return 1;
    return guarded(thread, [&] { luaD_reallocstack(thread, size, 0); });
}

// The frame goes on with another closure of the same prototype.
void bluetick_set_frame_closure(lua_State* L, lua_State* thread, int frame, Closure* c)
{
    luaC_threadbarrier(thread);
    setclvalue(L, frame_at(thread, frame)->func, c);
}

// The frame goes on in `code`, at `pc`. Its registers below the call that waits, or all that it has if it
// is the innermost one, become `sources`; what lies above, inner frames and all, moves along. There is room.
void bluetick_move_frame(
    lua_State* L,
    lua_State* thread,
    int frame,
    Closure* closure,
    Proto* code,
    int pc,
    int old_registers,
    int results,
    const BtSource* sources,
    int registers
)
{
    luaC_threadbarrier(thread);
    CallInfo* ci = frame_at(thread, frame);
    bool innermost = ci == thread->ci;
    TValue fresh[256];
    for (int r = 0; r < registers; r++)
    {
        const BtSource& s = sources[r];
        if (s.kind == 1)
            fresh[r] = ci->base[s.reg];
        else if (s.kind == 2)
            fresh[r] = *reinterpret_cast<const TValue*>(&s.value);
        else
            setnilvalue(&fresh[r]);
    }
    // Open upvalues of this frame's registers follow them; those of inner frames move with all that is above.
    int delta = registers - old_registers;
    StkId above = ci->base + old_registers;
    int to[256];
    for (int r = 0; r < 256; r++)
        to[r] = r;
    for (int r = 0; r < registers; r++)
        if (sources[r].kind == 1)
            to[sources[r].reg] = r;
    // A value that the frame has twice in the new text is where the lowest register is.
    for (int r = registers - 1; r >= 0; r--)
        if (sources[r].kind == 1)
            to[sources[r].reg] = r;
    for (UpVal* u = thread->openupval; u; u = u->u.open.threadnext)
    {
        if (u->v >= above)
            u->v += delta;
        else if (u->v >= ci->base)
            u->v = ci->base + to[u->v - ci->base];
    }
    if (!innermost && delta != 0)
    {
        memmove(above + delta, above, size_t(thread->top - above) * sizeof(TValue));
        for (CallInfo* inner = ci + 1; inner <= thread->ci; inner++)
        {
            inner->func += delta;
            inner->base += delta;
            inner->top += delta;
        }
        thread->base += delta;
        thread->top += delta;
    }
    for (int r = 0; r < registers; r++)
        ci->base[r] = fresh[r];
    setclvalue(L, ci->func, closure);
    ci->p = code;
    ci->savedpc = code->code + pc;
    ci->top = ci->base + code->maxstacksize;
    ci->flags &= ~LUA_CALLINFO_NATIVE;
    if (innermost)
    {
        ci->top++; // as `bluetick_park`
        for (StkId o = ci->base + registers; o < ci->top; o++)
            setnilvalue(o);
        thread->base = ci->base;
        thread->top = ci->top - 1;
    }
    else
        (ci + 1)->nresults = results;
    // What was used of the stack and isn't any more must not keep anything alive, nor be found by the collector.
    if (delta < 0)
        for (int i = 0; i < -delta && thread->top + i < thread->stack_last; i++)
            setnilvalue(thread->top + i);
}

// The opcode of the instruction that the word before `pc` belongs to.
int bluetick_op_before(const Proto* p, int pc)
{
    int op = LOP_NOP;
    for (int at = 0; at < pc; at += Luau::getOpLength(LuauOpcode(op)))
        op = p->debuginsn ? p->debuginsn[at] : LUAU_INSN_OP(p->code[at]);
    return op;
}

// Frames outside of `ci` that are in the iterator of a generic `for` are picked up in the middle of that
// instruction. The VM has made a note of it only where the iterator was suspended before.
static void note_iterators(lua_State* thread, CallInfo* ci)
{
    for (CallInfo* outer = thread->base_ci + 1; outer < ci; outer++)
        if (isLua(outer) && bluetick_op_before(outer->p, int(outer->savedpc - outer->p->code)) == LOP_FORGLOOP)
            outer->flags |= LUA_CALLINFO_OPYIELD;
}

// A failed coroutine is suspended again, at `pc` of the frame, which keeps its first `registers` registers.
// Inner frames are dropped. 0 without memory.
int bluetick_park(lua_State* L, lua_State* thread, int frame, int pc, int registers)
{
    CallInfo* ci = frame_at(thread, frame);
    // One more than the frame needs: for the error with which its tasklet may be killed.
    int need = int(ci->base - thread->stack) + ci->p->maxstacksize + 1;
    if (!bluetick_reserve(thread, need))
        return 0;
    luaC_threadbarrier(thread);
    ci = frame_at(thread, frame);
    luaF_close(thread, ci->base + registers);
    note_iterators(thread, ci);
    thread->ci = ci;
    ci->savedpc = ci->p->code + pc;
    ci->flags &= ~(LUA_CALLINFO_NATIVE | LUA_CALLINFO_OPYIELD);
    ci->top = ci->base + ci->p->maxstacksize + 1;
    for (StkId o = ci->base + registers; o < ci->top; o++)
        setnilvalue(o);
    thread->base = ci->base;
    thread->top = ci->top - 1;
    thread->status = LUA_BREAK;
    (void)L;
    return 1;
}

// A failed coroutine, which called the C function of `frame`, is suspended in it again; inner frames are dropped.
void bluetick_park_in_call(lua_State* thread, int frame)
{
    luaC_threadbarrier(thread);
    CallInfo* ci = frame_at(thread, frame);
    luaF_close(thread, ci->base);
    note_iterators(thread, ci);
    thread->ci = ci;
    thread->base = ci->base;
    thread->top = ci->base;
    ci->top = ci->base + LUA_MINSTACK <= thread->stack_last ? ci->base + LUA_MINSTACK : thread->stack_last;
    thread->status = LUA_BREAK;
}

} // extern "C"
