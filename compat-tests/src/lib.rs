//! Harness that runs JetKV and nats-server side by side.
