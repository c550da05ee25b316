//! JSON as Go's `encoding/json` reads and writes it, which is what clients of nats-server see: field names match
//! without regard to case, a value of the wrong type is reported while the rest is still taken, and the error texts
//! stand in API responses.

mod decode;
mod encode;
mod scan;
mod time;

pub use decode::{Decode, Decoder, GoStruct, decode_lenient, decode_strict};
pub(crate) use decode::{Duration, Durations, Int, go_struct};
pub(crate) use encode::write;
pub use encode::{go_quote, to_vec, write_string};
pub(crate) use scan::whole_value;
pub use scan::{Kind, Value};
pub use time::{GoTime, write_time};
