// render.go - a Helm chart's templates through the engine that Helm uses (Go's text/template), where Helm itself is not at hand.
//
//	go run render.go CHART/templates < context.json
//
// Standard input: {"Values": .., "Release": .., "Chart": ..}.  Knows the functions that our chart uses; another one is an
// error here, so add it.  Output: the documents, as `helm template` writes them, for a YAML parser.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

func number(v interface{}) int64 {
	switch n := v.(type) {
	case int:
		return int64(n)
	case float64: // as JSON has them
		return int64(n)
	}
	must(fmt.Errorf("%v is no number", v))
	return 0
}

func main() {
	var context map[string]interface{}
	must(json.NewDecoder(os.Stdin).Decode(&context))
	t := template.New("chart").Option("missingkey=error")
	t.Funcs(template.FuncMap{
		"include": func(name string, data interface{}) (string, error) {
			var out strings.Builder
			err := t.ExecuteTemplate(&out, name, data)
			return out.String(), err
		},
		"toYaml": func(v interface{}) (string, error) { // JSON is YAML; a mapping without its braces, because more may follow
			m, isMap := v.(map[string]interface{})
			if !isMap || len(m) == 0 {
				b, err := json.Marshal(v)
				return string(b), err
			}
			var lines []string
			for key, value := range m {
				b, err := json.Marshal(value)
				if err != nil {
					return "", err
				}
				lines = append(lines, fmt.Sprintf("%q: %s", key, b))
			}
			return strings.Join(lines, "\n"), nil
		},
		"nindent": func(n int, s string) string {
			pad := "\n" + strings.Repeat(" ", n)
			return pad + strings.ReplaceAll(s, "\n", pad)
		},
		"quote":      func(v interface{}) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
		"trunc":      func(n int, s string) string { return s[:min(n, len(s))] },
		"trimSuffix": func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
		"add":        func(a, b interface{}) int64 { return number(a) + number(b) },
		"div":        func(a, b interface{}) int64 { return number(a) / number(b) },
	})
	files, err := filepath.Glob(filepath.Join(os.Args[1], "*"))
	must(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(err)
		_, err = t.New(filepath.Base(file)).Parse(string(text))
		must(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".yaml") {
			fmt.Println("---")
			must(t.ExecuteTemplate(os.Stdout, filepath.Base(file), context))
		} else if strings.HasSuffix(file, ".txt") { // notes are for people, but must render
			must(t.ExecuteTemplate(&strings.Builder{}, filepath.Base(file), context))
		}
	}
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}
