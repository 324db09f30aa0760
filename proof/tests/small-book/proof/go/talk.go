// ANCHOR: empty

// ANCHOR_END: empty
// ANCHOR: endless
func f() {}
