module corpus

go 1.24

require (
	github.com/google/jsonschema-go v0.4.2
	github.com/invopop/jsonschema v0.14.0
)
