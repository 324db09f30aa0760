use super::report::Results;
pub fn svg(_results: &Results) -> String {
    String::new()
}
