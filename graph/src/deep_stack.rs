//! Room for parsers that recurse: a stack of their own, so that no text can overflow the caller's.

/// CEL's parser takes some 100 KiB a bracket in a debug build; pages that are not touched cost nothing.
const STACK_BYTES: usize = 64 * 1024 * 1024;

pub(crate) fn on_a_deep_stack<T: Send>(parse: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, parse);
        parser.expect("a thread can be started").join().expect("a parser returns its errors")
    })
}
