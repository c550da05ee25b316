//! The KV scenario list, run by a driver program over each client library.
