//! The conformance suite's upstream, over standard input and output.

fn main() {
    toolscout_testkit::conformance::serve(std::io::stdin().lock(), std::io::stdout());
}
