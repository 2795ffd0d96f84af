//! Compiles what knows the VM from inside, `src/reload/live/internals/internals.cpp` and `switch.cpp` and `stack.cpp` of
//! `src/luau`, against the private headers of the very VM that mlua-sys builds.

#[cfg(any(feature = "reload", feature = "fast-switch"))]
mod vm {
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex};
    use std::{env, fs};

    /// The files, each with the feature that has use for it.
    const SOURCES: [(&str, bool); 3] = [
        ("src/reload/live/internals/internals.cpp", cfg!(feature = "reload")),
        ("src/luau/switch.cpp", cfg!(feature = "fast-switch")),
        ("src/luau/stack.cpp", cfg!(feature = "fast-switch")),
    ];

    /// What they rely on; `REVIEWED` is the hash as it was when they were last compared with it.
    const FILES: [&str; 16] = [
        "VM/include/lua.h",
        "VM/include/luaconf.h",
        "VM/src/lobject.h",
        "VM/src/lstate.h",
        "VM/src/lgc.h",
        "VM/src/lmem.h",
        "VM/src/lvm.h",
        "VM/src/ldo.h",
        "VM/src/ldo.cpp",
        "VM/src/lfunc.cpp",
        "VM/src/lgc.cpp",
        "VM/src/lcorolib.cpp",
        "VM/src/lvmload.cpp",
        "VM/src/lvmexecute.cpp",
        "Common/include/Luau/Bytecode.h",
        "Common/include/Luau/BytecodeUtils.h",
    ];
    const REVIEWED: u64 = 0x8c9f_df60_bf8e_1edc;

    pub fn build() {
        let wanted = SOURCES.iter().filter(|(_, wanted)| *wanted).map(|(file, _)| *file);
        for file in wanted.clone() {
            println!("cargo:rerun-if-changed={file}");
        }
        println!("cargo:rerun-if-env-changed=LUAU0_SRC_DIR");
        println!("cargo:rerun-if-env-changed=LUAU_CXXFLAGS");
        let Some(luau) = sources() else {
            panic!(
                "the sources of luau0-src were not found; set LUAU0_SRC_DIR to the folder of that package, \
                 or build without the features `reload` and `fast-switch`"
            );
        };
        let hash = hash_of(&luau);
        if hash != REVIEWED {
            panic!(
                "the VM in {} is not the one that {} were written for (hash {hash:#018x}, expected \
                 {REVIEWED:#018x}): compare them, run the tests, and change REVIEWED in build.rs; or build \
                 without the features `reload` and `fast-switch`",
                luau.display(),
                SOURCES.map(|(file, _)| file).join(" and ")
            );
        }
        let mut build = cc::Build::new();
        build
            .cpp(true)
            .std("c++17")
            .warnings(false)
            .files(wanted)
            .include(luau.join("VM/src"))
            .include(luau.join("VM/include"))
            .include(luau.join("Common/include"))
            // As luau0-src and mlua-sys have them.
            .define("LUAI_MAXCSTACK", "1000000")
            .define("LUA_VECTOR_SIZE", "3")
            .define("LUA_API", "extern \"C\"");
        if cfg!(debug_assertions) {
            build.define("LUAU_ENABLE_ASSERT", None);
        }
        for flag in env::var("LUAU_CXXFLAGS").unwrap_or_default().split_whitespace() {
            build.flag(flag);
        }
        build.compile("bluetick_vm");
    }

    fn hash_of(luau: &Path) -> u64 {
        FILES.iter().fold(0xcbf2_9ce4_8422_2325, |hash, file| {
            let path = luau.join(file);
            let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            // Line ends are what the package's archive or a checkout made of them.
            text.iter()
                .filter(|&&byte| byte != b'\r')
                .fold(hash, |hash: u64, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        })
    }

    /// The folder `luau` of the package luau0-src that this script is linked with, which is the one that
    /// mlua-sys builds the VM from. The package doesn't tell where it is, but a failed assertion in it does.
    fn sources() -> Option<PathBuf> {
        let package = match env::var_os("LUAU0_SRC_DIR") {
            Some(package) => PathBuf::from(package),
            None => {
                let place = Arc::new(Mutex::new(PathBuf::new()));
                let noted = place.clone();
                let hook = std::panic::take_hook();
                std::panic::set_hook(Box::new(move |panic| {
                    if let (Some(location), Ok(mut place)) = (panic.location(), noted.lock()) {
                        *place = location.file().into();
                    }
                }));
                let _ = std::panic::catch_unwind(|| {
                    luau0_src::Build::new().set_vector_size(0);
                });
                std::panic::set_hook(hook);
                let file = place.lock().ok()?.clone();
                file.parent()?.parent()?.to_path_buf()
            }
        };
        let luau = package.join("luau");
        luau.join("VM/src/lstate.h").exists().then_some(luau)
    }
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(any(feature = "reload", feature = "fast-switch"))]
    vm::build();
}
