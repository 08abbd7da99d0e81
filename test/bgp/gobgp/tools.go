//go:build tools

// A BGP daemon of the fourth major version and its command line, which few distributions have: go.mod and go.sum pin
// them and all they need.
package tools

import (
	_ "github.com/osrg/gobgp/v4/cmd/gobgp"
	_ "github.com/osrg/gobgp/v4/cmd/gobgpd"
)
