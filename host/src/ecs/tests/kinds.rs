//! Every kind of field, read, written and refused: in place, by a computed name, as a whole value and in a new entity,
//! by the VM's direct handlers and by the plain metamethods.

use super::*;
use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Reflect, Clone, Debug, PartialEq, Default)]
#[reflect(Default)]
struct Rgba {
    red: f32,
    green: f32,
    blue: f32,
    alpha: f32,
}

/// As Bevy's own.
#[derive(Reflect, Clone, Debug, PartialEq)]
enum Color {
    Rgba(Rgba),
    Named { name: String },
    Clear,
}

#[derive(Reflect, Clone, Debug, PartialEq, Default)]
struct Pair(u8, String);

#[derive(Reflect, Clone, Debug, PartialEq, Default)]
#[reflect(opaque)]
#[reflect(Default)]
struct Boxed(Box<Inner>);

#[derive(Reflect, Clone, Debug, PartialEq, Default)]
#[reflect(opaque)]
#[reflect(Default)]
struct Celsius(f64);

#[derive(Component, Reflect, Debug, PartialEq)]
#[reflect(Default)]
struct Kinds {
    u8: u8,
    u16: u16,
    u32: u32,
    u64: u64,
    u128: u128,
    usize: usize,
    i8: i8,
    i16: i16,
    i32: i32,
    i64: i64,
    i128: i128,
    isize: isize,
    f32: f32,
    f64: f64,
    bool: bool,
    char: char,
    string: String,
    cow: Cow<'static, str>,
    path: PathBuf,
    duration: Duration,
    vec2: Vec2,
    vec3: Vec3,
    vec3a: Vec3A,
    vec4: Vec4,
    quat: Quat,
    rgba: Rgba,
    color: Color,
    entity: Entity,
    inner: Inner,
    pair: Pair,
    tuple: (i8, bool),
    meters: Meters,
    array: [u8; 2],
    structs: [Inner; 2],
    long_array: [u8; 40],
    unit: State,
    data: State,
    option: Option<u8>,
    option_struct: Option<Inner>,
    vec: Vec<u8>,
    vec_deque: VecDeque<String>,
    hash_map: HashMap<String, u8>,
    btree_map: BTreeMap<i16, Inner>,
    hash_set: HashSet<String>,
    nested: HashMap<String, Vec<Option<Inner>>>,
    boxed: Boxed,
    opaque: Celsius,
}

impl Default for Kinds {
    fn default() -> Self {
        Self {
            u8: 1,
            u16: 1,
            u32: 1,
            u64: 1,
            u128: 1,
            usize: 1,
            i8: 1,
            i16: 1,
            i32: 1,
            i64: 1,
            i128: 1,
            isize: 1,
            f32: 0.5,
            f64: 0.5,
            bool: true,
            char: 'a',
            string: "old".into(),
            cow: "old".into(),
            path: "old".into(),
            duration: Duration::from_millis(1500),
            vec2: Vec2::ONE,
            vec3: Vec3::ONE,
            vec3a: Vec3A::ONE,
            vec4: Vec4::ONE,
            quat: Quat::from_xyzw(0.0, 0.0, 0.0, 1.0),
            rgba: Rgba { alpha: 1.0, ..Rgba::default() },
            color: Color::Clear,
            entity: Entity::PLACEHOLDER,
            inner: Inner { depth: 1, deeper: Deeper { x: 1.0 } },
            pair: Pair(1, "p".into()),
            tuple: (1, true),
            meters: Meters(1.0),
            array: [1, 2],
            structs: [Inner::default(), Inner::default()],
            long_array: [1; 40],
            unit: State::Idle,
            data: State::Waiting(1.0),
            option: None,
            option_struct: None,
            vec: vec![1, 2],
            vec_deque: ["a".to_owned()].into(),
            hash_map: [("a".to_owned(), 1)].into(),
            btree_map: BTreeMap::new(),
            hash_set: ["a".to_owned()].into(),
            nested: HashMap::new(),
            boxed: Boxed::default(),
            opaque: Celsius(20.0),
        }
    }
}

fn games() -> [Game; 2] {
    [true, false].map(|direct| {
        let add = |builder: RegistryBuilder| {
            builder
                .component::<Kinds>()
                .seen_as::<Boxed, Inner>(|boxed| &boxed.0, |inner| Boxed(Box::new(inner)))
                .conversion::<Celsius>(
                    |celsius| Value::Number(celsius.0),
                    |value| match value {
                        Value::Number(number) => Ok(Celsius(*number)),
                        other => Err(format!("expected degrees, got {other}")),
                    },
                )
        };
        Game::with(add, direct)
    })
}

/// A field, what to assign, and what then has to be true of `v`, the value that is read back.
const GOOD: &[(&str, &str, &str)] = &[
    ("u8", "255", "v == 255"),
    ("u16", "65535", "v == 65535"),
    ("u32", "4294967295", "v == 4294967295"),
    ("u64", "'18446744073709551615'", "v == '18446744073709551615'"),
    ("u64", "2^53", "v == 2^53"),
    ("u128", "'340282366920938463463374607431768211455'", "v == '340282366920938463463374607431768211455'"),
    ("usize", "2^40", "v == 2^40"),
    ("i8", "-128", "v == -128"),
    ("i16", "-32768", "v == -32768"),
    ("i32", "-2147483648", "v == -2147483648"),
    ("i64", "'-9223372036854775808'", "v == '-9223372036854775808'"),
    ("i64", "-2^53", "v == -2^53"),
    ("i128", "'-170141183460469231731687303715884105728'", "v == '-170141183460469231731687303715884105728'"),
    ("isize", "-2^40", "v == -2^40"),
    ("f32", "0.25", "v == 0.25"),
    ("f32", "1/0", "v == math.huge"),
    ("f32", "0/0", "v ~= v"),
    ("f64", "1/3", "v == 1/3"),
    ("bool", "false", "v == false"),
    ("char", "'語'", "v == '語'"),
    ("string", "'né'", "v == 'né'"),
    ("string", "''", "v == ''"),
    ("cow", "'new'", "v == 'new'"),
    ("path", "'a/b'", "v == 'a/b'"),
    ("duration", "2.5", "v == 2.5"),
    ("vec2", "vector.create(1, 2, 0)", "v == vector.create(1, 2, 0)"),
    ("vec2", "{ 3, 4 }", "v == vector.create(3, 4, 0)"),
    ("vec3", "vector.create(1, 2, 3)", "v == vector.create(1, 2, 3)"),
    ("vec3", "{ 1, 2, 3 }", "v == vector.create(1, 2, 3)"),
    ("vec3", "{ y = 5 }", "v.y == 5"),
    ("vec3a", "vector.create(1, 2, 3)", "v == vector.create(1, 2, 3)"),
    ("vec4", "{ 1, 2, 3, 4 }", "v.x == 1 and v.w == 4"),
    ("vec4", "{ z = 9 }", "v.z == 9"),
    ("quat", "{ x = 1, y = 0, z = 0, w = 0 }", "v.x == 1 and v.w == 0"),
    ("quat", "{ 0, 1, 0, 0 }", "v.y == 1"),
    ("rgba", "{ red = 1, alpha = 0.5 }", "v.red == 1 and v.alpha == 0.5 and v.blue == 0"),
    ("color", "{ Rgba = { green = 1 } }", "v.Rgba.green == 1"),
    ("color", "{ Named = { name = 'teal' } }", "v.Named.name == 'teal' and v.Rgba == nil"),
    ("color", "'Clear'", "v == 'Clear'"),
    ("entity", "me", "v == me"),
    ("entity", "nil", "v == nil"),
    ("inner", "{ depth = 7, deeper = { x = 2 } }", "v.depth == 7 and v.deeper.x == 2"),
    ("inner", "{ deeper = { x = 3 } }", "v.deeper.x == 3"),
    ("pair", "{ 9, 'q' }", "v[1] == 9 and v[2] == 'q' and #v == 2"),
    ("tuple", "{ -1, false }", "v[1] == -1 and v[2] == false"),
    ("meters", "3.5", "v == 3.5"),
    ("array", "{ 8, 9 }", "v[1] == 8 and v[2] == 9 and #v == 2"),
    ("structs", "{ { depth = 1 }, { depth = 2 } }", "v[2].depth == 2"),
    ("long_array", "table.create(40, 7)", "v[40] == 7 and #v == 40"),
    ("unit", "'Idle'", "v == 'Idle'"),
    ("data", "{ Between = { 1, 2 } }", "v.Between[2] == 2"),
    ("data", "{ Chasing = { speed = 2 } }", "v.Chasing.speed == 2 and v.Chasing.target == nil"),
    ("option", "7", "v == 7"),
    ("option", "nil", "v == nil"),
    ("option_struct", "{ depth = 4 }", "v.depth == 4"),
    ("vec", "{ 3, 4, 5 }", "#v == 3 and v[3] == 5"),
    ("vec", "{}", "#v == 0"),
    ("vec_deque", "{ 'x', 'y' }", "#v == 2 and v[2] == 'y'"),
    ("hash_map", "{ x = 2, y = 3 }", "v.x == 2 and v.y == 3 and v.a == nil"),
    ("btree_map", "{ [-5] = { depth = 1 } }", "v[-5].depth == 1"),
    ("hash_set", "{ 'x', 'y' }", "v.x and v.y and not v.a"),
    ("nested", "{ a = { { depth = 1 } } }", "v.a[1].depth == 1"),
    ("boxed", "{ depth = 3 }", "v.depth == 3 and v.deeper.x == 0"),
    ("opaque", "-40", "v == -40"),
];

/// A field, what does not fit, and what the error says besides the field's path.
const BAD: &[(&str, &str, &str)] = &[
    ("f32", "'1'", "a number (f32), got string \"1\""),
    ("f64", "true", "a number (f64), got true"),
    ("f64", "nil", "a number (f64), got nil"),
    ("bool", "1", "a boolean (bool), got number 1"),
    ("char", "'ab'", "a string of one character (char)"),
    ("char", "''", "a string of one character (char)"),
    ("char", "7", "a string of one character (char), got number 7"),
    ("char", "'\\xff'", "not valid UTF-8"),
    ("string", "7", "a string (String), got number 7"),
    ("string", "'\\xff\\xfe'", "not valid UTF-8"),
    ("string", "{ 'x' }", "a string (String), got a list of 1"),
    ("cow", "7", "a string (Cow<str>), got number 7"),
    ("path", "7", "a string (PathBuf), got number 7"),
    ("duration", "-1", "a number of seconds (Duration), got number -1"),
    ("duration", "0/0", "a number of seconds (Duration), got number nan"),
    ("duration", "1/0", "a number of seconds (Duration), got number inf"),
    ("vec2", "vector.one", "a vector with z = 0 (Vec2), got vector 1, 1, 1"),
    ("vec2", "{ 1 }", "a vector with z = 0 (Vec2), got a list of 1"),
    ("vec2", "{ q = 1 }", "Vec2 has no field 'q'"),
    ("vec3", "7", "a vector (Vec3), got number 7"),
    ("vec3", "{ 1, 2 }", "a vector (Vec3), got a list of 2"),
    ("vec3", "{ 1, 2, 'x' }", "a vector (Vec3), got a list of 3"),
    ("vec3", "{ x = 'q' }", ".x: expected a number (f32), got string \"q\""),
    ("vec3a", "'x'", "a vector (Vec3A), got string \"x\""),
    ("vec4", "vector.one", "a table (Vec4), got vector"),
    ("vec4", "{ 1, 2, 3 }", "a table (Vec4), got a list of 3"),
    ("vec4", "{ w = 'x' }", ".w: expected a number (f32)"),
    ("quat", "7", "a table (Quat), got number 7"),
    ("quat", "{ 1, 2, 3 }", "a table (Quat), got a list of 3"),
    ("quat", "{ ww = 1 }", "Quat has no field 'ww'; it has x, y, z and w"),
    ("rgba", "{ grean = 1 }", "Rgba has no field 'grean' (did you mean 'green'?)"),
    ("rgba", "{ red = 'x' }", ".red: expected a number (f32)"),
    ("color", "'Claer'", "did you mean 'Clear'?"),
    ("color", "{ Rgba = 7 }", "Rgba: expected a table (Rgba), got number 7"),
    ("color", "{ Named = {} }", "the variant Named needs name as well"),
    ("color", "{ Rgba = {}, Named = {} }", "expected one of"),
    ("entity", "'e'", "expected an entity, got string \"e\""),
    ("entity", "7", "expected an entity, got number 7"),
    ("inner", "7", "a table (Inner), got number 7"),
    ("inner", "{ dept = 1 }", "Inner has no field 'dept' (did you mean 'depth'?)"),
    ("inner", "{ deeper = { x = {} } }", ".deeper.x: expected a number (f64)"),
    ("pair", "{ 1 }", "a list of 2 (Pair), got a list of 1"),
    ("pair", "{ 1, 2 }", "[2]: expected a string (String), got number 2"),
    ("tuple", "{ 200, true }", "[1]: expected a whole number from -128 to 127 (i8)"),
    ("tuple", "7", "a list"),
    ("meters", "'x'", "a number (f32), got string \"x\""),
    ("array", "{ 1, 2, 3 }", "a list of 2"),
    ("array", "{ 1, 256 }", "[2]: expected a whole number from 0 to 255"),
    ("structs", "{ {}, { depth = -1 } }", "[2].depth: expected a whole number"),
    ("long_array", "{ 1 }", "a list of 40"),
    ("unit", "'Idel'", "did you mean 'Idle'?"),
    ("unit", "7", "expected one of \"Idle\""),
    ("data", "{ Waiting = 'x' }", "Waiting: expected a number (f64)"),
    ("data", "{ Between = { 1, 2, 3 } }", "Between: expected a list of 2"),
    ("option", "256", "a whole number from 0 to 255 (u8)"),
    ("option", "'x'", "(u8)"),
    ("option_struct", "{ depth = 0.5 }", ".depth: expected a whole number"),
    ("vec", "{ 1, 2, 256 }", "[3]: expected a whole number from 0 to 255"),
    ("vec", "7", "a list (Vec<u8>), got number 7"),
    ("vec", "{ x = 1 }", "a list (Vec<u8>), got a table"),
    ("vec_deque", "{ 7 }", "[1]: expected a string (String), got number 7"),
    ("hash_map", "{ x = 256 }", ".x: expected a whole number from 0 to 255"),
    ("hash_map", "{ 1 }", "key 1: expected a string (String), got number 1"),
    ("btree_map", "{ x = {} }", "key x: expected a whole number from -32768"),
    ("btree_map", "{ [40000] = {} }", "key 40000: expected a whole number from -32768"),
    ("hash_set", "{ 7 }", "[1]: expected a string (String)"),
    ("nested", "{ a = { {}, { depth = -1 } } }", ".a[2].depth: expected a whole number"),
    ("boxed", "{ dept = 3 }", "Inner has no field 'dept' (did you mean 'depth'?)"),
    ("boxed", "{ depth = -3 }", ".depth: expected a whole number"),
    ("opaque", "'hot'", "expected degrees, got \"hot\""),
];

#[test]
fn every_kind_of_field_takes_what_fits_in_every_way_and_gives_it_back() {
    for mut game in games() {
        for &(field, value, check) in GOOD {
            let e = game.world.spawn(Kinds::default()).id();
            for write in [
                format!("e.Kinds.{field} = {value}"),
                format!("e.Kinds['{field}'] = {value}"),
                format!("local held = e.Kinds held.{field} = {value}"),
                format!("e.Kinds = {{ {field} = {value} }}"),
                format!("e:insert('Kinds', {{ {field} = {value} }})"),
                format!("e = world:spawn {{ Kinds = {{ {field} = {value} }} }}"),
            ] {
                // As a whole value, a nil is what the default has, which is nil for these fields.
                let read = format!("local v = e.Kinds.{field} assert({check}, tostring(v))");
                // What is read can be written again, and means the same.
                let whole = "local all = e:get('Kinds') e.Kinds = all";
                let script = format!("me = e e.Kinds = {{}} {write} {read} {whole} {read}");
                let result = game.try_run::<()>(e, &script);
                result.unwrap_or_else(|error| panic!("{write}: {error}"));
            }
        }
    }
}

#[test]
fn every_kind_of_field_refuses_what_does_not_fit_and_changes_nothing() {
    for mut game in games() {
        let e = game.world.spawn(Kinds::default()).id();
        for &(field, value, expected) in BAD {
            let label = format!("Kinds.{field}");
            game.fails(e, &format!("e.Kinds.{field} = {value}"), "type", &[&label, expected]);
            game.fails(e, &format!("e.Kinds['{field}'] = {value}"), "type", &[&label, expected]);
            if value == "nil" {
                continue;
            }
            game.fails(e, &format!("e.Kinds = {{ {field} = {value} }}"), "type", &[&label, expected]);
            let spawn = format!("world:spawn {{ Kinds = {{ {field} = {value} }} }}");
            game.fails(e, &spawn, "type", &[&label, expected]);
        }
        assert_eq!(game.world.get::<Kinds>(e), Some(&Kinds::default()));
        assert_eq!(game.world.query::<&Kinds>().iter(&game.world).count(), 1);
    }
}

#[test]
fn every_kind_of_integer_has_its_ends_and_takes_nothing_beyond_them() {
    macro_rules! ends {
        ($($t:ident)*) => { [$((stringify!($t), <$t>::MIN.to_string(), <$t>::MAX.to_string())),*] };
    }
    /// The number below a negative one or above another, as digits.
    fn beyond(number: &str) -> String {
        match number {
            "0" => "-1".to_owned(),
            number => {
                let mut digits = number.as_bytes().to_vec();
                for digit in digits.iter_mut().rev() {
                    if *digit < b'9' {
                        *digit += 1;
                        break;
                    }
                    *digit = b'0';
                }
                String::from_utf8(digits).unwrap()
            }
        }
    }
    for mut game in games() {
        for (kind, least, most) in ends!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize) {
            let e = game.world.spawn(Kinds::default()).id();
            for end in [&least, &most] {
                game.run::<()>(
                    e,
                    &format!("e.Kinds.{kind} = '{end}' assert(tostring(e.Kinds.{kind}) == '{end}')"),
                );
            }
            let expected = format!("a whole number from {least} to {most} ({kind})");
            let (below, above) = (beyond(&least), beyond(&most));
            for value in [
                &*format!("'{below}'"),
                &*format!("'{above}'"),
                "0.5",
                "0/0",
                "1/0",
                "-1/0",
                "1e39",
                "-1e39",
                "'12x'",
                "''",
                "'0x10'",
                "' 1'",
                "true",
                "vector.one",
                "{}",
            ] {
                let label = format!("Kinds.{kind}");
                game.fails(e, &format!("e.Kinds.{kind} = {value}"), "type", &[&label, &expected]);
            }
            game.run::<()>(e, &format!("assert(tostring(e.Kinds.{kind}) == '{most}')"));
        }
        // As numbers, which no digits protect.
        let e = game.world.spawn(Kinds::default()).id();
        for (kind, value) in [
            ("u8", "256"),
            ("u8", "-1"),
            ("u16", "65536"),
            ("u32", "2^32"),
            ("u64", "2^64"),
            ("u64", "-1"),
            ("usize", "2^64"),
            ("u128", "2^128"),
            ("i8", "128"),
            ("i8", "-129"),
            ("i16", "2^15"),
            ("i32", "2^31"),
            ("i32", "-2^31 - 1"),
            ("i64", "2^63"),
            ("i64", "-2^63 - 2048"),
            ("isize", "2^63"),
            ("i128", "2^127"),
        ] {
            game.fails(e, &format!("e.Kinds.{kind} = {value}"), "type", &["a whole number from"]);
        }
        assert_eq!(game.world.get::<Kinds>(e), Some(&Kinds::default()));
    }
}

#[test]
fn what_lies_in_a_field_is_used_in_place() {
    for mut game in games() {
        let e = game.world.spawn(Kinds::default()).id();
        game.run::<()>(
            e,
            "local k = e.Kinds
             k.vec4.x = 5 k.quat.w = 0.5 k.rgba.green = 0.25 k.inner.deeper.x = 9
             k.pair[2] = 'z' k.tuple[1] = -3 k.array[2] = 77 k.structs[2].deeper.x = 4 k.long_array[33] = 9
             k.color = { Rgba = {} } k.color.Rgba.blue = 1
             k.data.Waiting = 5
             k.option_struct = {} k.option_struct.deeper.x = 2
             k.vec[3] = 30 k.vec:remove(1) k.vec_deque:insert(1, 'front')
             k.hash_map.b = 2 k.hash_map.a = nil k.btree_map[3] = {} k.btree_map[3].depth = 8
             k.hash_set.b = true k.hash_set.a = nil
             k.nested.x = { { depth = 1 }, nil } k.nested.x[1].depth += 1 k.nested.x:insert({ depth = 5 })",
        );
        let there = game.world.get::<Kinds>(e).unwrap();
        let inner = |depth, x| Inner { depth, deeper: Deeper { x } };
        let expected = Kinds {
            vec4: Vec4::new(5.0, 1.0, 1.0, 1.0),
            quat: Quat::from_xyzw(0.0, 0.0, 0.0, 0.5),
            rgba: Rgba { green: 0.25, alpha: 1.0, ..Rgba::default() },
            inner: inner(1, 9.0),
            pair: Pair(1, "z".into()),
            tuple: (-3, true),
            array: [1, 77],
            structs: [inner(0, 0.0), inner(0, 4.0)],
            long_array: std::array::from_fn(|i| if i == 32 { 9 } else { 1 }),
            color: Color::Rgba(Rgba { blue: 1.0, ..Rgba::default() }),
            data: State::Waiting(5.0),
            option_struct: Some(inner(0, 2.0)),
            vec: vec![2, 30],
            vec_deque: ["front".to_owned(), "a".to_owned()].into(),
            hash_map: [("b".to_owned(), 2)].into(),
            btree_map: [(3, inner(8, 0.0))].into(),
            hash_set: ["b".to_owned()].into(),
            nested: [("x".to_owned(), vec![Some(inner(2, 0.0)), Some(inner(5, 0.0))])].into(),
            ..Kinds::default()
        };
        assert_eq!(*there, expected);
    }
}

#[test]
fn an_unknown_field_of_any_depth_is_named_with_the_nearest() {
    for mut game in games() {
        let e = game.world.spawn(Kinds::default()).id();
        for (place, parts) in [
            ("e.Kinds.strng", ["Kinds has no field 'strng'", "did you mean 'string'?"]),
            ("e.Kinds.inner.deapth", ["Kinds.inner has no field 'deapth'", "did you mean 'depth'?"]),
            ("e.Kinds.inner.deeper.y", ["Kinds.inner.deeper has no field 'y'", "it has x"]),
            ("e.Kinds.rgba.gren", ["Kinds.rgba has no field 'gren'", "did you mean 'green'?"]),
            ("e.Kinds.structs[1].dpeth", ["has no field 'dpeth'", "did you mean 'depth'?"]),
            ("e.Kinds.quat.W", ["Kinds.quat has no field 'W'", "did you mean 'w'?"]),
        ] {
            game.fails(e, &format!("return {place}"), "type", &parts);
            game.fails(e, &format!("{place} = 1"), "type", &parts);
        }
    }
}
