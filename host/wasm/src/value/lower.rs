//! Canonical JSON into the guest: as core values, or into its memory.

use std::ops::{Deref, DerefMut};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use toolpost_core::catalog::shape::snake_case;
use wasmtime::component::__internal::wasmtime_environ::component::{
    CanonicalAbiInfo, TypeFlags, TypeListIndex, VariantInfo,
};
use wasmtime::component::__internal::{ComponentTypes, InterfaceType, LowerContext};
use wasmtime::component::Lower;
use wasmtime::{Result, ValRaw};

use super::abi::{FLAT_MAX, Held};

/// An error for what the cast has ruled out.
pub(super) fn mismatch(expected: &str) -> wasmtime::Error {
    wasmtime::format_err!("the canonical arguments do not fit the component's types: expected {expected}")
}

/// The way into a guest, with the handles that may stand for resources there.
pub(super) struct Lowering<'a, 'c, T: 'static> {
    pub(super) cx: &'c mut LowerContext<'a, T>,
    pub(super) handles: &'c Held,
}

impl<'a, T> Deref for Lowering<'a, '_, T> {
    type Target = LowerContext<'a, T>;

    fn deref(&self) -> &Self::Target {
        self.cx
    }
}

impl<T> DerefMut for Lowering<'_, '_, T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.cx
    }
}

/// Parameters as core values; where that would be too many, as one that points to them.
pub(super) fn parameters<T>(
    cx: &mut Lowering<'_, '_, T>,
    ty: InterfaceType,
    arguments: &Value,
    slots: &mut [ValRaw],
) -> Result<()> {
    let mut slots = slots.iter_mut();
    let abi = cx.types.canonical_abi(&ty);
    if abi.flat_count(FLAT_MAX).is_some() {
        for (ty, value) in pairs(cx.types, ty, arguments)? {
            flat(cx, ty, value, &mut slots)?;
        }
        return Ok(());
    }
    let place = cx.realloc(0, 0, abi.align32, abi.size32 as usize)?;
    let mut offset = place;
    for (ty, value) in pairs(cx.types, ty, arguments)? {
        let place = cx.types.canonical_abi(&ty).next_field32_size(&mut offset);
        store(cx, ty, value, place)?;
    }
    put(&mut slots, ValRaw::i64(place as i64))
}

/// The canonical object has one member for each parameter, in order.
fn pairs<'v>(
    types: &ComponentTypes,
    ty: InterfaceType,
    arguments: &'v Value,
) -> Result<Vec<(InterfaceType, &'v Value)>> {
    let (InterfaceType::Tuple(index), Value::Object(members)) = (ty, arguments) else {
        return Err(mismatch("an object of parameters"));
    };
    let types = &types[index].types;
    if types.len() != members.len() {
        return Err(mismatch("a value for each parameter"));
    }
    Ok(types.iter().copied().zip(members.values()).collect())
}

type Slots<'s> = std::slice::IterMut<'s, ValRaw>;

fn flat<T>(cx: &mut Lowering<'_, '_, T>, ty: InterfaceType, value: &Value, slots: &mut Slots<'_>) -> Result<()> {
    let types = cx.types;
    match ty {
        InterfaceType::String => pair(string(cx, value)?, slots),
        InterfaceType::List(index) => pair(list(cx, index, value)?, slots),
        InterfaceType::Record(index) => {
            for (field, value) in types[index].fields.iter().zip(members(value, types[index].fields.len())?) {
                named(&field.name, value.0)?;
                flat(cx, field.ty, value.1, slots)?;
            }
            Ok(())
        }
        InterfaceType::Tuple(index) => {
            let tuple = &types[index].types;
            for (ty, value) in tuple.iter().zip(items(value, tuple.len())?) {
                flat(cx, *ty, value, slots)?;
            }
            Ok(())
        }
        InterfaceType::FixedLengthList(index) => {
            let element = types[index].element;
            for value in items(value, types[index].size as usize)? {
                flat(cx, element, value, slots)?;
            }
            Ok(())
        }
        InterfaceType::Flags(index) => {
            for word in flags(&types[index], value)? {
                put(slots, ValRaw::u32(word))?;
            }
            Ok(())
        }
        InterfaceType::Own(_) | InterfaceType::Borrow(_) => put(slots, ValRaw::u32(handle(cx, ty, value)?)),
        _ => match Case::of(types, ty, value)? {
            Some(case) => case.flat(cx, slots),
            None => put(slots, scalar(ty, value)?.raw()),
        },
    }
}

fn store<T>(cx: &mut Lowering<'_, '_, T>, ty: InterfaceType, value: &Value, place: usize) -> Result<()> {
    let types = cx.types;
    match ty {
        InterfaceType::String => {
            let text = value.as_str().ok_or_else(|| mismatch("a string"))?;
            text.linear_lower_to_memory(cx, ty, place)
        }
        InterfaceType::List(index) => {
            let (pointer, length) = list(cx, index, value)?;
            write(cx, place, &u32::try_from(pointer)?.to_le_bytes())?;
            write(cx, place + 4, &u32::try_from(length)?.to_le_bytes())
        }
        InterfaceType::Record(index) => {
            let mut offset = place;
            for (field, value) in types[index].fields.iter().zip(members(value, types[index].fields.len())?) {
                named(&field.name, value.0)?;
                let place = types.canonical_abi(&field.ty).next_field32_size(&mut offset);
                store(cx, field.ty, value.1, place)?;
            }
            Ok(())
        }
        InterfaceType::Tuple(index) => {
            let mut offset = place;
            let tuple = &types[index].types;
            for (ty, value) in tuple.iter().zip(items(value, tuple.len())?) {
                let place = types.canonical_abi(ty).next_field32_size(&mut offset);
                store(cx, *ty, value, place)?;
            }
            Ok(())
        }
        InterfaceType::FixedLengthList(index) => {
            let element = types[index].element;
            let size = types.canonical_abi(&element).size32 as usize;
            for (at, value) in items(value, types[index].size as usize)?.enumerate() {
                store(cx, element, value, place + at * size)?;
            }
            Ok(())
        }
        InterfaceType::Flags(index) => {
            let words = flags(&types[index], value)?;
            let width = match types[index].names.len() {
                0..=8 => 1,
                9..=16 => 2,
                _ => 4,
            };
            for (at, word) in words.iter().enumerate() {
                let bytes = word.to_le_bytes();
                write(cx, place + at * 4, bytes.get(..width).unwrap_or(&bytes))?;
            }
            Ok(())
        }
        InterfaceType::Own(_) | InterfaceType::Borrow(_) => {
            let index = handle(cx, ty, value)?;
            write(cx, place, &index.to_le_bytes())
        }
        _ => match Case::of(types, ty, value)? {
            Some(case) => case.store(cx, place),
            None => {
                let (bytes, width) = scalar(ty, value)?.bytes();
                write(cx, place, bytes.get(..width).unwrap_or(&bytes))
            }
        },
    }
}

/// A list in the guest's memory: its place and its length.
fn list<T>(cx: &mut Lowering<'_, '_, T>, index: TypeListIndex, value: &Value) -> Result<(usize, usize)> {
    let element = cx.types[index].element;
    match (element, value) {
        (InterfaceType::U8, Value::String(text)) => bytes(cx, text),
        (_, Value::Array(values)) => {
            let abi = cx.types.canonical_abi(&element);
            let (size, align) = (abi.size32 as usize, abi.align32);
            let room = values.len().checked_mul(size).ok_or_else(|| mismatch("a shorter list"))?;
            let place = cx.realloc(0, 0, align, room)?;
            for (at, value) in values.iter().enumerate() {
                store(cx, element, value, place + at * size)?;
            }
            Ok((place, values.len()))
        }
        _ => Err(mismatch("an array, or base64 for bytes")),
    }
}

/// Bytes are decoded where they go: one allocation in the guest, none in the host.
fn bytes<T>(cx: &mut Lowering<'_, '_, T>, text: &str) -> Result<(usize, usize)> {
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    let length = (text.len() / 4 * 3).checked_sub(padding).ok_or_else(|| mismatch("base64"))?;
    let place = cx.realloc(0, 0, 1, length)?;
    let room = cx.as_slice_mut().get_mut(place..).and_then(|memory| memory.get_mut(..length));
    let room = room.ok_or_else(|| mismatch("room for the bytes"))?;
    match BASE64.decode_slice(text, room) {
        Ok(written) if written == length => Ok((place, length)),
        _ => Err(mismatch("base64")),
    }
}

fn string<T>(cx: &mut Lowering<'_, '_, T>, value: &Value) -> Result<(usize, usize)> {
    let text = value.as_str().ok_or_else(|| mismatch("a string"))?;
    let mut pair = std::mem::MaybeUninit::uninit();
    text.linear_lower_to_flat(cx, InterfaceType::String, &mut pair)?;
    // SAFETY: lowering a string writes both of its core values.
    let [pointer, length]: [ValRaw; 2] = unsafe { pair.assume_init() };
    Ok((pointer.get_u32() as usize, length.get_u32() as usize))
}

/// What a handle stands for, as the guest has it.
fn handle<T>(cx: &mut Lowering<'_, '_, T>, ty: InterfaceType, value: &Value) -> Result<u32> {
    let held = value.as_str().and_then(|text| cx.handles.get(text)).copied();
    let held = held.ok_or_else(|| mismatch("a handle that is held"))?;
    let mut index = std::mem::MaybeUninit::uninit();
    held.linear_lower_to_flat(cx, ty, &mut index)?;
    // SAFETY: lowering a handle writes its one core value.
    Ok(unsafe { index.assume_init() }.get_u32())
}

fn pair((pointer, length): (usize, usize), slots: &mut Slots<'_>) -> Result<()> {
    put(slots, ValRaw::i64(pointer as i64))?;
    put(slots, ValRaw::i64(length as i64))
}

/// One case of a variant, option, result or enum.
struct Case<'t, 'v> {
    discriminant: u32,
    payload: Option<(InterfaceType, &'v Value)>,
    abi: &'t CanonicalAbiInfo,
    info: &'t VariantInfo,
}

impl<'t, 'v> Case<'t, 'v> {
    /// The case that the value says; nothing for a type that has no cases.
    fn of(types: &'t ComponentTypes, ty: InterfaceType, value: &'v Value) -> Result<Option<Self>> {
        let (discriminant, ty, payload, abi, info) = match ty {
            InterfaceType::Variant(index) => {
                let variant = &types[index];
                let (name, payload) = case(value)?;
                let (at, _, ty) = variant.cases.get_full(name).ok_or_else(|| mismatch("a case of the variant"))?;
                (at, *ty, payload, &variant.abi, &variant.info)
            }
            InterfaceType::Enum(index) => {
                let names = &types[index];
                let (name, payload) = case(value)?;
                let at = names.names.get_index_of(name).ok_or_else(|| mismatch("a name of the enum"))?;
                (at, None, payload, &names.abi, &names.info)
            }
            InterfaceType::Option(index) => {
                let option = &types[index];
                let payload = match (value, option.ty) {
                    (Value::Null, _) => None,
                    (value, InterfaceType::Option(_)) => Some(value.get("some").ok_or_else(|| mismatch("`some`"))?),
                    (value, _) => Some(value),
                };
                (usize::from(payload.is_some()), payload.map(|_| option.ty), payload, &option.abi, &option.info)
            }
            InterfaceType::Result(index) => {
                let result = &types[index];
                let (name, payload) = case(value)?;
                let (at, ty) = if name == "ok" { (0, result.ok) } else { (1, result.err) };
                (at, ty, payload.filter(|_| ty.is_some()), &result.abi, &result.info)
            }
            _ => return Ok(None),
        };
        let payload = match (ty, payload) {
            (Some(ty), Some(value)) => Some((ty, value)),
            (None, None) => None,
            _ => return Err(mismatch("a payload where the case has one")),
        };
        Ok(Some(Case { discriminant: u32::try_from(discriminant)?, payload, abi, info }))
    }

    fn flat<T>(&self, cx: &mut Lowering<'_, '_, T>, slots: &mut Slots<'_>) -> Result<()> {
        let count = |abi: &CanonicalAbiInfo| abi.flat_count(usize::MAX).ok_or_else(|| mismatch("fewer flat values"));
        put(slots, ValRaw::u32(self.discriminant))?;
        let mut written = 1;
        if let Some((ty, value)) = self.payload {
            written += count(cx.types.canonical_abi(&ty))?;
            flat(cx, ty, value, slots)?;
        }
        // The other cases may be wider; what this one does not use is zero.
        for _ in written..count(self.abi)? {
            put(slots, ValRaw::u64(0))?;
        }
        Ok(())
    }

    fn store<T>(&self, cx: &mut Lowering<'_, '_, T>, place: usize) -> Result<()> {
        let bytes = self.discriminant.to_le_bytes();
        let width = usize::from(self.info.size);
        write(cx, place, bytes.get(..width).unwrap_or(&bytes))?;
        match self.payload {
            Some((ty, value)) => store(cx, ty, value, place + self.info.payload_offset32 as usize),
            None => Ok(()),
        }
    }
}

/// `"case"` or `{"case": payload}`.
fn case(value: &Value) -> Result<(&str, Option<&Value>)> {
    match value {
        Value::String(name) => Ok((name, None)),
        Value::Object(members) => {
            let (name, payload) = members.iter().next().ok_or_else(|| mismatch("a case"))?;
            Ok((name, Some(payload)))
        }
        _ => Err(mismatch("a case")),
    }
}

/// A value of one core value, as its bits.
enum Scalar {
    Bits32(u32, usize),
    Bits64(u64),
}

impl Scalar {
    fn raw(&self) -> ValRaw {
        match self {
            Scalar::Bits32(bits, _) => ValRaw::u32(*bits),
            Scalar::Bits64(bits) => ValRaw::u64(*bits),
        }
    }

    /// As in memory, and how many of the bytes count.
    fn bytes(&self) -> ([u8; 8], usize) {
        match self {
            Scalar::Bits32(bits, width) => (u64::from(*bits).to_le_bytes(), *width),
            Scalar::Bits64(bits) => (bits.to_le_bytes(), 8),
        }
    }
}

fn scalar(ty: InterfaceType, value: &Value) -> Result<Scalar> {
    // Small signed integers are sign-extended, as their core value is.
    let signed = |width| Ok(Scalar::Bits32(i32::try_from(integer(value)?)?.cast_unsigned(), width));
    let unsigned = |width| Ok(Scalar::Bits32(u32::try_from(integer(value)?)?, width));
    match ty {
        InterfaceType::Bool => Ok(Scalar::Bits32(value.as_bool().ok_or_else(|| mismatch("a bool"))?.into(), 1)),
        InterfaceType::U8 => unsigned(1),
        InterfaceType::U16 => unsigned(2),
        InterfaceType::U32 => unsigned(4),
        InterfaceType::S8 => signed(1),
        InterfaceType::S16 => signed(2),
        InterfaceType::S32 => signed(4),
        InterfaceType::U64 => Ok(Scalar::Bits64(u64::try_from(integer(value)?)?)),
        InterfaceType::S64 => Ok(Scalar::Bits64(i64::try_from(integer(value)?)?.cast_unsigned())),
        #[expect(clippy::cast_possible_truncation, reason = "the cast has made sure that no digit is lost")]
        InterfaceType::Float32 => Ok(Scalar::Bits32((float(value)? as f32).to_bits(), 4)),
        InterfaceType::Float64 => Ok(Scalar::Bits64(float(value)?.to_bits())),
        InterfaceType::Char => {
            let c = value.as_str().and_then(|text| text.chars().next()).ok_or_else(|| mismatch("a character"))?;
            Ok(Scalar::Bits32(c.into(), 4))
        }
        _ => Err(mismatch("a type that JSON can carry")),
    }
}

fn integer(value: &Value) -> Result<i128> {
    let number = match value {
        Value::Number(number) => number.as_i128(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| mismatch("an integer"))
}

fn float(value: &Value) -> Result<f64> {
    match value {
        Value::String(text) if text == "NaN" => Ok(f64::NAN),
        Value::String(text) if text == "Infinity" => Ok(f64::INFINITY),
        Value::String(text) if text == "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => value.as_f64().ok_or_else(|| mismatch("a number")),
    }
}

/// The bits of the flags that are set, 32 to a word.
fn flags(ty: &TypeFlags, value: &Value) -> Result<Vec<u32>> {
    let mut words = vec![0_u32; ty.names.len().div_ceil(32)];
    for name in value.as_array().ok_or_else(|| mismatch("an array of names"))? {
        let name = name.as_str().ok_or_else(|| mismatch("a name"))?;
        let at = ty.names.get_index_of(name).ok_or_else(|| mismatch("a name of the flags"))?;
        if let Some(word) = words.get_mut(at / 32) {
            *word |= 1 << (at % 32);
        }
    }
    Ok(words)
}

fn members(value: &Value, count: usize) -> Result<serde_json::map::Iter<'_>> {
    match value {
        Value::Object(members) if members.len() == count => Ok(Map::iter(members)),
        _ => Err(mismatch("an object with every field")),
    }
}

fn items(value: &Value, count: usize) -> Result<std::slice::Iter<'_, Value>> {
    match value {
        Value::Array(items) if items.len() == count => Ok(items.iter()),
        _ => Err(mismatch("an array with every item")),
    }
}

/// Fields stand in WIT order; a key that is not the field's own would put a value in the wrong place.
fn named(field: &str, key: &str) -> Result<()> {
    let plain =
        field.len() == key.len() && field.bytes().zip(key.bytes()).all(|(f, k)| f == k || (f == b'-' && k == b'_'));
    if plain || snake_case(field) == key { Ok(()) } else { Err(mismatch("the fields in order")) }
}

fn put(slots: &mut Slots<'_>, value: ValRaw) -> Result<()> {
    *slots.next().ok_or_else(|| mismatch("fewer flat values"))? = value;
    Ok(())
}

fn write<T>(cx: &mut Lowering<'_, '_, T>, place: usize, bytes: &[u8]) -> Result<()> {
    let room = cx.as_slice_mut().get_mut(place..).and_then(|memory| memory.get_mut(..bytes.len()));
    room.ok_or_else(|| mismatch("room in the guest's memory"))?.copy_from_slice(bytes);
    Ok(())
}
