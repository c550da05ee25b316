//! JSON as Go's `encoding/json` reads and writes it, which is what clients of nats-server see: field names match
//! without regard to case, a value of the wrong type is reported while the rest is still taken, and the error texts
//! stand in API responses; what is written is compact and safe within HTML.

mod decode;
mod encode;
mod scan;

pub use crate::go_struct;
pub use decode::{
    Decode, Decoder, Duration, Durations, GoStruct, Int, decode_first, decode_lenient, decode_strict,
    is_same_folded,
};
pub use encode::{pretty, to_string, to_vec, write, write_string};
pub use scan::{Kind, ScanError, Value, whole_value};
