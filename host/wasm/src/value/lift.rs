//! What the guest answers, as JSON. The guest is hostile: every length and pointer is checked, and what is copied out of
//! its memory is counted against the call's limit.

use std::ops::{Deref, DerefMut};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Number, Value, json};
use toolpost_core::catalog::cast::{canonical_integer, widen};
use toolpost_core::catalog::shape::snake_case;
use wasmtime::component::__internal::wasmtime_environ::component::{TypeFlags, VariantInfo};
use wasmtime::component::__internal::{InterfaceType, LiftContext};
use wasmtime::component::{Lift, ResourceAny};
use wasmtime::{Result, ValRaw, format_err};

// A value takes far more room as JSON than in the guest's memory, where names take none at all. So what is counted is about
// the length of its JSON text: the content of strings and bytes, all names, and for each part of a whole so much:

/// An item of an array, in bytes.
const ITEM_BYTES: usize = 8;

/// A member of an object, beside its name, in bytes.
const MEMBER_BYTES: usize = 24;

/// The way out of a guest, with the resources that it hands over on it.
pub(super) struct Lifting<'a, 'c> {
    pub(super) cx: &'c mut LiftContext<'a>,
    pub(super) made: Vec<ResourceAny>,
}

impl<'a> Deref for Lifting<'a, '_> {
    type Target = LiftContext<'a>;

    fn deref(&self) -> &Self::Target {
        self.cx
    }
}

impl DerefMut for Lifting<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.cx
    }
}

impl Lifting<'_, '_> {
    /// A resource is its number among those of the result, until it gets a name.
    fn make(&mut self, resource: ResourceAny) -> Value {
        self.made.push(resource);
        json!(self.made.len() - 1)
    }
}

/// The result as the one core value; where it would be more, that one points to it.
pub(super) fn result(cx: &mut Lifting<'_, '_>, ty: InterfaceType, slots: &[ValRaw]) -> Result<Value> {
    let Some(ty) = only_result(cx, ty)? else { return Ok(Value::Null) };
    let mut slots = slots.iter();
    let abi = cx.types.canonical_abi(&ty);
    if abi.flat_count(1).is_some() {
        return flat(cx, ty, &mut slots);
    }
    let place = slots.next().ok_or_else(|| format_err!("a core value is missing"))?.get_u32() as usize;
    if !place.is_multiple_of(abi.align32 as usize) {
        return Err(format_err!("the pointer to the result is not aligned"));
    }
    let bytes = slice(cx, place, abi.size32 as usize)?;
    load(cx, ty, bytes)
}

fn only_result(cx: &LiftContext<'_>, ty: InterfaceType) -> Result<Option<InterfaceType>> {
    match ty {
        InterfaceType::Tuple(index) => Ok(cx.types[index].types.first().copied()),
        _ => Err(format_err!("a list of results is expected")),
    }
}

fn flat(cx: &mut Lifting<'_, '_>, ty: InterfaceType, slots: &mut std::slice::Iter<'_, ValRaw>) -> Result<Value> {
    let types = cx.types;
    let mut next = || slots.next().copied().ok_or_else(|| format_err!("a core value is missing"));
    Ok(match ty {
        InterfaceType::Record(index) => {
            let fields = &types[index].fields;
            let mut object = Map::with_capacity(fields.len());
            for field in fields {
                count_member(cx, &field.name)?;
                object.insert(snake_case(&field.name), flat(cx, field.ty, slots)?);
            }
            Value::Object(object)
        }
        InterfaceType::Tuple(index) => {
            let tuple = &types[index].types;
            array(cx, tuple.len(), tuple.iter(), |cx, ty| flat(cx, *ty, slots))?
        }
        InterfaceType::FixedLengthList(index) => {
            let list = &types[index];
            array(cx, list.size as usize, 0..list.size, |cx, _| flat(cx, list.element, slots))?
        }
        InterfaceType::Flags(index) => {
            let flags = &types[index];
            let words =
                (0..flags.names.len().div_ceil(32)).map(|_| Ok(next()?.get_u32())).collect::<Result<Vec<_>>>()?;
            names(cx, flags, &words)?
        }
        InterfaceType::Variant(_) | InterfaceType::Enum(_) | InterfaceType::Option(_) | InterfaceType::Result(_) => {
            let discriminant = next()?.get_u32();
            case(cx, ty, discriminant, |cx, ty| flat(cx, ty, slots))?
        }
        InterfaceType::Own(_) => {
            let resource = ResourceAny::linear_lift_from_flat(cx, ty, &next()?)?;
            cx.make(resource)
        }
        _ => scalar(ty, next()?.get_u64())?,
    })
}

fn load(cx: &mut Lifting<'_, '_>, ty: InterfaceType, bytes: &[u8]) -> Result<Value> {
    let types = cx.types;
    let part = |offset: &mut usize, ty: &InterfaceType| {
        let abi = types.canonical_abi(ty);
        let at = abi.next_field32_size(offset);
        bytes.get(at..at + abi.size32 as usize).ok_or_else(|| format_err!("a value is out of bounds"))
    };
    let mut offset = 0;
    Ok(match ty {
        InterfaceType::String => Value::String(String::linear_lift_from_memory(cx, ty, bytes)?),
        InterfaceType::List(index) => list(cx, types[index].element, word(bytes, 0)?, word(bytes, 4)?)?,
        InterfaceType::Own(_) => {
            let resource = ResourceAny::linear_lift_from_memory(cx, ty, bytes)?;
            cx.make(resource)
        }
        InterfaceType::Record(index) => {
            let fields = &types[index].fields;
            let mut object = Map::with_capacity(fields.len());
            for field in fields {
                count_member(cx, &field.name)?;
                let value = load(cx, field.ty, part(&mut offset, &field.ty)?)?;
                object.insert(snake_case(&field.name), value);
            }
            Value::Object(object)
        }
        InterfaceType::Tuple(index) => {
            let tuple = &types[index].types;
            array(cx, tuple.len(), tuple.iter(), |cx, ty| load(cx, *ty, part(&mut offset, ty)?))?
        }
        InterfaceType::FixedLengthList(index) => {
            let list = &types[index];
            let element = list.element;
            array(cx, list.size as usize, 0..list.size, |cx, _| load(cx, element, part(&mut offset, &element)?))?
        }
        InterfaceType::Flags(index) => {
            let flags = &types[index];
            let words = match flags.names.len() {
                0 => Vec::new(),
                1..=8 => vec![u32::from(byte(bytes, 0)?)],
                9..=16 => vec![u32::from(byte(bytes, 0)?) | u32::from(byte(bytes, 1)?) << 8],
                count => (0..count.div_ceil(32)).map(|at| word(bytes, at * 4)).collect::<Result<Vec<_>>>()?,
            };
            names(cx, flags, &words)?
        }
        InterfaceType::Variant(_) | InterfaceType::Enum(_) | InterfaceType::Option(_) | InterfaceType::Result(_) => {
            let info = match ty {
                InterfaceType::Variant(index) => &types[index].info,
                InterfaceType::Enum(index) => &types[index].info,
                InterfaceType::Option(index) => &types[index].info,
                InterfaceType::Result(index) => &types[index].info,
                _ => return Err(unsupported()),
            };
            let discriminant = discriminant(info, bytes)?;
            case(cx, ty, discriminant, |cx, ty| {
                let mut offset = info.payload_offset32 as usize;
                load(cx, ty, part(&mut offset, &ty)?)
            })?
        }
        _ => {
            let bits = bytes.iter().rev().try_fold(0_u64, |bits, byte| Some(bits.checked_mul(256)? | u64::from(*byte)));
            scalar(ty, bits.ok_or_else(unsupported)?)?
        }
    })
}

fn list(cx: &mut Lifting<'_, '_>, element: InterfaceType, place: u32, length: u32) -> Result<Value> {
    let abi = cx.types.canonical_abi(&element);
    let (size, align) = (abi.size32 as usize, abi.align32 as usize);
    let (place, length) = (usize::try_from(place)?, usize::try_from(length)?);
    if !place.is_multiple_of(align) {
        return Err(format_err!("the pointer to a list is not aligned"));
    }
    let room = length.checked_mul(size).ok_or_else(|| format_err!("a list is out of bounds"))?;
    let bytes = slice(cx, place, room)?;
    if element == InterfaceType::U8 {
        cx.consume_fuel(room)?;
        return Ok(Value::String(BASE64.encode(bytes)));
    }
    // Items of no size at all take no part of the memory, so only the count bounds them.
    let items = (0..length).map(|at| bytes.get(at * size..(at + 1) * size).unwrap_or_default());
    array(cx, length, items, |cx, bytes| load(cx, element, bytes))
}

/// So many items as an array. They are counted before there is room made for them.
fn array<'a, 'c, I>(
    cx: &mut Lifting<'a, 'c>,
    length: usize,
    items: impl Iterator<Item = I>,
    mut lift: impl FnMut(&mut Lifting<'a, 'c>, I) -> Result<Value>,
) -> Result<Value> {
    cx.consume_fuel_array(length, ITEM_BYTES)?;
    let mut values = Vec::with_capacity(length);
    for item in items {
        values.push(lift(cx, item)?);
    }
    Ok(Value::Array(values))
}

fn object(cx: &mut Lifting<'_, '_>, name: &str, value: Value) -> Result<Value> {
    count_member(cx, name)?;
    let mut object = Map::with_capacity(1);
    object.insert(name.to_owned(), value);
    Ok(Value::Object(object))
}

fn count_member(cx: &mut Lifting<'_, '_>, name: &str) -> Result<()> {
    cx.consume_fuel(MEMBER_BYTES + name.len())
}

fn text(cx: &mut Lifting<'_, '_>, name: &str) -> Result<Value> {
    cx.consume_fuel(name.len())?;
    Ok(Value::String(name.to_owned()))
}

fn case(
    cx: &mut Lifting<'_, '_>,
    ty: InterfaceType,
    discriminant: u32,
    payload: impl FnOnce(&mut Lifting<'_, '_>, InterfaceType) -> Result<Value>,
) -> Result<Value> {
    let types = cx.types;
    let unknown = || format_err!("a case that the type does not have: {discriminant}");
    let index = usize::try_from(discriminant)?;
    match ty {
        InterfaceType::Variant(variant) => match types[variant].cases.get_index(index).ok_or_else(unknown)? {
            (name, Some(ty)) => payload(cx, *ty).and_then(|value| object(cx, name, value)),
            (name, None) => text(cx, name),
        },
        InterfaceType::Enum(names) => text(cx, types[names].names.iter().nth(index).ok_or_else(unknown)?),
        InterfaceType::Option(option) => match (index, types[option].ty) {
            (0, _) => Ok(Value::Null),
            (1, ty @ InterfaceType::Option(_)) => payload(cx, ty).and_then(|value| object(cx, "some", value)),
            (1, ty) => payload(cx, ty),
            _ => Err(unknown()),
        },
        InterfaceType::Result(result) => {
            let (name, ty) = match index {
                0 => ("ok", types[result].ok),
                1 => ("err", types[result].err),
                _ => return Err(unknown()),
            };
            let payload = ty.map_or(Ok(Value::Null), |ty| payload(cx, ty))?;
            object(cx, name, payload)
        }
        _ => Err(unsupported()),
    }
}

fn scalar(ty: InterfaceType, bits: u64) -> Result<Value> {
    let low = u32::try_from(bits & u64::from(u32::MAX))?;
    let integer = |value: i128| Ok(canonical_integer(value));
    match ty {
        InterfaceType::Bool => Ok(json!(low != 0)),
        InterfaceType::U8 => integer((low & 0xff).into()),
        InterfaceType::U16 => integer((low & 0xffff).into()),
        InterfaceType::U32 => integer(low.into()),
        InterfaceType::U64 => integer(bits.into()),
        InterfaceType::S8 => integer(i8::from_le_bytes([u8::try_from(low & 0xff)?]).into()),
        InterfaceType::S16 => integer(u16::try_from(low & 0xffff)?.cast_signed().into()),
        InterfaceType::S32 => integer(low.cast_signed().into()),
        InterfaceType::S64 => integer(bits.cast_signed().into()),
        InterfaceType::Float32 => Ok(float(widen(f32::from_bits(low)))),
        InterfaceType::Float64 => Ok(float(f64::from_bits(bits))),
        InterfaceType::Char => Ok(json!(char::from_u32(low).ok_or_else(|| format_err!("not a character: {low:#x}"))?)),
        _ => Err(unsupported()),
    }
}

fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => json!("NaN"),
        None if value > 0.0 => json!("Infinity"),
        None => json!("-Infinity"),
    }
}

fn names(cx: &mut Lifting<'_, '_>, flags: &TypeFlags, words: &[u32]) -> Result<Value> {
    let set = |at: usize| words.get(at / 32).is_some_and(|word| word & (1 << (at % 32)) != 0);
    let count = words.iter().map(|word| word.count_ones() as usize).sum();
    let names = flags.names.iter().enumerate().filter(|(at, _)| set(*at));
    array(cx, count, names, |cx, (_, name)| text(cx, name))
}

fn discriminant(info: &VariantInfo, bytes: &[u8]) -> Result<u32> {
    Ok(match usize::from(info.size) {
        1 => u32::from(byte(bytes, 0)?),
        2 => u32::from(byte(bytes, 0)?) | u32::from(byte(bytes, 1)?) << 8,
        _ => word(bytes, 0)?,
    })
}

fn byte(bytes: &[u8], at: usize) -> Result<u8> {
    bytes.get(at).copied().ok_or_else(|| format_err!("a value is out of bounds"))
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..at + 4).and_then(|word| word.first_chunk::<4>());
    word.map(|word| u32::from_le_bytes(*word)).ok_or_else(|| format_err!("a value is out of bounds"))
}

fn slice<'a>(cx: &LiftContext<'a>, place: usize, length: usize) -> Result<&'a [u8]> {
    let slice = cx.memory().get(place..).and_then(|memory| memory.get(..length));
    slice.ok_or_else(|| format_err!("a pointer is out of the bounds of the memory"))
}

fn unsupported() -> wasmtime::Error {
    format_err!("a type that JSON cannot carry")
}
