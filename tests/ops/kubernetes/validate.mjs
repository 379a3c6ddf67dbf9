// Validates custom resources (a JSON array on standard input) by their published schemas; prints
// each error and ends with 1 if there is one.
import { readFileSync } from "node:fs";
import { GRPCRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1";
import { PrometheusRule, ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";

const kinds = { GRPCRoute, PrometheusRule, ScaledObject, ServiceMonitor };
let failed = false;
for (const resource of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    new kinds[resource.kind](resource).validate();
  } catch (error) {
    console.log(`${resource.kind}: ${error.message}`);
    failed = true;
  }
}
process.exit(failed ? 1 : 0);
