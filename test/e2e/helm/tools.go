//go:build tools

// Helm, which renders the chart whose manifests the tests apply.
package tools

import (
	_ "helm.sh/helm/v3/cmd/helm"
)
