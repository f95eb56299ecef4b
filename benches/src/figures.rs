//! How figures are printed: one line each, with the machine that gave them.

use crate::load::Measured;

/// Cores and memory, as anybody can compare them.
pub fn print_machine() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("model name\t: ").map(str::to_owned)))
        .unwrap_or_else(|| "unknown processor".to_owned());
    println!("machine: {cores} cores, {model}");
}

pub fn print(name: &str, measured: &Measured) {
    println!(
        "{name}: {:.0} runs/s, p50 {:.1} ms, p99 {:.1} ms, {} runs in {:.1} s",
        measured.per_second(),
        measured.milliseconds(0.5),
        measured.milliseconds(0.99),
        measured.latency.len(),
        measured.seconds
    );
}
