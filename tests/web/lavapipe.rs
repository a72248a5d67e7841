//! Chromium's libvk_swiftshader.so, by which any Vulkan driver stands in SwiftShader's place.
//!
//! Dawn opens that library and asks `vkGetInstanceProcAddr` for the rest. Of adapters that compute on the CPU Chromium takes none but
//! SwiftShader, which it knows by two numbers; so the loader's answers are passed on, and its devices bear these numbers.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute;
use std::sync::OnceLock;

type Function = unsafe extern "system" fn();
type Lookup = unsafe extern "system" fn(*mut c_void, *const c_char) -> Option<Function>;
type Describe = unsafe extern "system" fn(*mut c_void, *mut c_void);

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}
const RTLD_NOW: c_int = 2;

/// The loader's `vkGetInstanceProcAddr`, where there is a loader.
fn loader() -> Option<Lookup> {
    static LOADER: OnceLock<Option<Lookup>> = OnceLock::new();
    *LOADER.get_or_init(|| {
        // SAFETY: both names end with a zero, and the symbol is a function of this type.
        unsafe {
            let library = dlopen(c"libvulkan.so.1".as_ptr(), RTLD_NOW);
            let lookup = dlsym(library, c"vkGetInstanceProcAddr".as_ptr());
            (!library.is_null() && !lookup.is_null())
                .then(|| transmute::<*mut c_void, Lookup>(lookup))
        }
    })
}

/// Writes SwiftShader's vendor and device into `VkPhysicalDeviceProperties`, which begin with two versions and these.
///
/// # Safety
/// They lie at `properties`.
unsafe fn name(properties: *mut c_void) {
    let words = properties.cast::<u32>();
    // SAFETY: the caller's.
    unsafe {
        words.add(2).write(0x1AE0);
        words.add(3).write(0xC0DE);
    }
}

static PROPERTIES: OnceLock<Describe> = OnceLock::new();
static PROPERTIES2: OnceLock<Describe> = OnceLock::new();

unsafe extern "system" fn properties(device: *mut c_void, out: *mut c_void) {
    // SAFETY: this function is handed out once the loader's is known, and called as that.
    unsafe {
        PROPERTIES.get().unwrap()(device, out);
        name(out);
    }
}

/// `VkPhysicalDeviceProperties2` begin with a type and a pointer.
unsafe extern "system" fn properties2(device: *mut c_void, out: *mut c_void) {
    // SAFETY: as above.
    unsafe {
        PROPERTIES2.get().unwrap()(device, out);
        name(out.byte_add(16));
    }
}

/// Vulkan's entry point.
///
/// # Safety
/// As the specification says: `instance` is one or null, and `function` ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vkGetInstanceProcAddr(
    instance: *mut c_void,
    function: *const c_char,
) -> Option<Function> {
    // SAFETY: the caller's; each function is handed out as the type that it has.
    unsafe {
        let theirs = loader()?(instance, function)?;
        let stand_in = |real: &OnceLock<Describe>, ours: Describe| {
            real.get_or_init(|| transmute::<Function, Describe>(theirs));
            transmute::<Describe, Function>(ours)
        };
        Some(match CStr::from_ptr(function).to_bytes() {
            b"vkGetInstanceProcAddr" => transmute::<Lookup, Function>(vkGetInstanceProcAddr),
            b"vkGetPhysicalDeviceProperties" => stand_in(&PROPERTIES, properties),
            b"vkGetPhysicalDeviceProperties2" | b"vkGetPhysicalDeviceProperties2KHR" => {
                stand_in(&PROPERTIES2, properties2)
            }
            _ => theirs,
        })
    }
}
