// Types as people write them for tools and answers: what google/jsonschema-go (as the Go SDK of MCP uses it) and
// invopop/jsonschema (as openai-go's users do) make of them. Writes two files of the corpus into the folder named.
package main

import (
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	google "github.com/google/jsonschema-go/jsonschema"
	"github.com/invopop/jsonschema"
)

type Unit string

func (Unit) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Enum: []any{"celsius", "fahrenheit"}}
}

type Weather struct {
	City string `json:"city" jsonschema:"required"`
	Unit Unit   `json:"unit,omitempty"`
	Days int    `json:"days,omitempty" jsonschema:"minimum=1,maximum=16"`
}

type ReadFile struct {
	Path   string  `json:"path"`
	Offset *int    `json:"offset,omitempty"`
	Limit  *uint32 `json:"limit,omitempty"`
	Binary bool    `json:"binary"`
}

type Search struct {
	Query   string            `json:"query" jsonschema:"minLength=1,maxLength=200"`
	Order   string            `json:"order,omitempty" jsonschema:"enum=newest,enum=relevance,default=relevance"`
	Tags    []string          `json:"tags,omitempty" jsonschema:"uniqueItems=true,maxItems=8"`
	Filters map[string]string `json:"filters,omitempty"`
	Any     any               `json:"any,omitempty"`
	Raw     json.RawMessage   `json:"raw,omitempty"`
}

type Address struct {
	Street string `json:"street"`
	Zip    string `json:"zip" jsonschema:"pattern=^[0-9]{5}$"`
	Mail   string `json:"mail,omitempty" jsonschema:"format=email"`
}

type Base struct {
	ID      uint64    `json:"id"`
	Created time.Time `json:"created"`
}

type Person struct {
	Base
	Name      string             `json:"name" jsonschema:"title=Name,example=Ann"`
	Age       uint8              `json:"age"`
	Home      *Address           `json:"home"`
	Others    []Address          `json:"others"`
	ByName    map[string]Address `json:"by_name,omitempty"`
	Scores    [3]float32         `json:"scores"`
	Photo     []byte             `json:"photo,omitempty"`
	Wait      time.Duration      `json:"wait"`
	Nothing   struct{}           `json:"nothing"`
	secret    string
	Ignored   string `json:"-"`
	Untagged  string
	Quoted    int `json:"quoted,string"`
	Interface fmt.Stringer `json:"interface,omitempty"`
}

type Numbers struct {
	Small   int8      `json:"small"`
	Long    int64     `json:"long"`
	Ratio   float64   `json:"ratio" jsonschema:"minimum=0,maximum=1"`
	Even    int       `json:"even" jsonschema:"multipleOf=2"`
	Big     *big.Int  `json:"big"`
	Matrix  [][]int        `json:"matrix"`
	Keyed   map[int]string `json:"keyed"`
	Pointer **float32 `json:"pointer"`
	Byte    byte      `json:"byte"`
}

type Step struct {
	Explanation string `json:"explanation"`
	Output      string `json:"output"`
}

type Solution struct {
	Steps  []Step `json:"steps" jsonschema_description:"One after the other, with commas"`
	Answer string `json:"answer" jsonschema_description:"The last line"`
}

type Choice struct {
	Value any    `json:"value" jsonschema:"oneof_type=string;integer"`
	Ref   string `json:"ref,omitempty" jsonschema:"nullable"`
	One   string `json:"one,omitempty" jsonschema:"oneof_required=one"`
	Two   string `json:"two,omitempty" jsonschema:"oneof_required=two"`
	Days  []int  `json:"days,omitempty" jsonschema:"enum=1,enum=2,enum=3"`
	Const string `json:"kind" jsonschema:"const=choice"`
	Link  string `json:"link,omitempty" jsonschema:"format=uri,readOnly=true,deprecated=true"`
}

type Tree struct {
	Value    int     `json:"value"`
	Children []*Tree `json:"children,omitempty"`
}

type Empty struct{}

type Event struct {
	At      time.Time              `json:"at"`
	Payload map[string]any         `json:"payload"`
	Tags    map[string][]string    `json:"tags,omitempty"`
	Nested  map[string]map[string]int `json:"nested,omitempty"`
}

// The tags of google/jsonschema-go are descriptions and nothing else, so that others' tags are refused.
type Page struct {
	Items []Step `json:"items" jsonschema:"what was found"`
	Next  *int   `json:"next,omitempty" jsonschema:"where the next page begins"`
	Total int    `json:"total" jsonschema:"of all pages"`
	Cost  map[string]float64 `json:"cost,omitempty" jsonschema:"by currency"`
	Until *time.Time         `json:"until,omitempty" jsonschema:"when it ends"`
}

type entry struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Strict bool   `json:"strict"`
	Schema any    `json:"schema"`
}

func write(folder, generator, version string, entries []entry) {
	lines := []string{}
	for _, one := range entries {
		line, err := json.Marshal(one)
		if err != nil {
			panic(err)
		}
		lines = append(lines, string(line))
	}
	text := fmt.Sprintf("{\n\"generator\": %q,\n\"version\": %q,\n\"schemas\": [\n%s\n]\n}\n", generator, version, strings.Join(lines, ",\n"))
	if err := os.WriteFile(filepath.Join(folder, generator+".json"), []byte(text), 0o644); err != nil {
		panic(err)
	}
	fmt.Printf("%s %s: %d\n", generator, version, len(lines))
}

func main() {
	folder := os.Args[1]
	tools := map[string]bool{"Weather": true, "ReadFile": true, "Search": true, "Empty": true}
	kind := func(name string) string {
		if tools[name] {
			return "tool"
		}
		return "output"
	}

	all := []any{
		Weather{}, ReadFile{}, Search{}, Person{}, Numbers{}, Solution{}, Choice{}, Tree{}, Empty{}, Event{}, Page{},
		[]Address{}, map[string]Step{},
	}
	entries := []entry{}
	openai := jsonschema.Reflector{AllowAdditionalProperties: false, DoNotReference: true}
	loose := jsonschema.Reflector{AllowAdditionalProperties: true, RequiredFromJSONSchemaTags: true}
	for _, value := range all {
		name := strings.TrimPrefix(reflect.TypeOf(value).String(), "main.")
		entries = append(entries, entry{name, kind(name), false, jsonschema.Reflect(value)})
		if name != "Tree" {
			entries = append(entries, entry{name + ", inline", kind(name), false, openai.Reflect(value)})
		}
		entries = append(entries, entry{name + ", open", kind(name), false, loose.Reflect(value)})
	}
	write(folder, "invopop-jsonschema", "0.14.0", entries)

	entries = []entry{}
	for _, value := range []any{
		ReadFile{}, Solution{}, Empty{}, Event{}, Page{}, []Step{}, map[string]Step{}, struct {
			Base
			Nested struct {
				Values []float64 `json:"values"`
				Matrix [2][2]int `json:"matrix"`
				Any    any       `json:"any"`
				Raw    []byte    `json:"raw,omitzero"`
			} `json:"nested"`
			Big   *big.Int `json:"big"`
			Small uint8    `json:"small"`
		}{},
	} {
		name := strings.TrimPrefix(reflect.TypeOf(value).String(), "main.")
		if strings.HasPrefix(name, "struct {") && len(name) > 9 {
			name = "embedded"
		}
		schema, err := google.ForType(reflect.TypeOf(value), &google.ForOptions{})
		if err != nil {
			panic(fmt.Sprint(name, err))
		}
		entries = append(entries, entry{name, kind(name), false, schema})
	}
	write(folder, "google-jsonschema-go", "0.4.2", entries)
}
