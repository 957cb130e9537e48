//! Carries a tool's documentation inside its component.
//!
//! An agent picks a tool by its description. Authors write that description as `///` comments in WIT, but the type of a
//! component, which is all that a host sees of it, has no comments. [`embed_wit!`] puts the WIT text itself into the
//! component, as a custom section, where the host finds it. A custom section is not code and not memory: the guest is
//! as quick and as small at run time as without it.
//!
//! ```ignore
//! wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "greeter" });
//! toolpost_guest::embed_wit!("wit/world.wit");
//! ```

#![no_std]

/// Embeds a WIT file, so that its `///` comments become the tools' descriptions.
///
/// The path is relative to the crate's manifest. Call it once for each file that holds documentation; the order does
/// not matter. The files of `toolpost:tool` itself are not needed: every host has them.
///
/// The text goes to the custom section `toolpost:wit`, followed by one NUL byte. The linker joins the texts of several
/// calls to one section, and the NUL tells the host where each ends.
#[macro_export]
macro_rules! embed_wit {
    ($path:literal) => {
        const _: () = {
            const TEXT: &::core::primitive::str =
                ::core::include_str!(::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/", $path));
            // Not `#[used]`: that would keep a second copy in the guest's memory. The section stays without it.
            #[cfg_attr(target_family = "wasm", unsafe(link_section = "toolpost:wit"))]
            static _SECTION: [::core::primitive::u8; TEXT.len() + 1] = $crate::with_nul(TEXT);
        };
    };
}

/// The text's bytes and one NUL. `LEN` is one more than the text's length.
#[doc(hidden)]
pub const fn with_nul<const LEN: usize>(text: &str) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let (head, _nul) = bytes.split_at_mut(LEN - 1);
    head.copy_from_slice(text.as_bytes());
    bytes
}
