// Package config reads and writes settings as YAML, strictly: an unknown key, a wrong type, a value out of range, a key set
// twice and a second document are errors, all of them reported at once with file, line, column and the offending line.
//
// Settings are structs. Field tags say what a key is: yaml (its name), doc (a sentence for people), enum (the accepted words,
// separated by commas), min and max. The same tags give the checks of [Load], the comments of [Marshal] and the JSON schema of
// [Schema]. It is the only package that knows the YAML library.
package config
