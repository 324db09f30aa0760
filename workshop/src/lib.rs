//! What the tests and the tools of the workshop share.
