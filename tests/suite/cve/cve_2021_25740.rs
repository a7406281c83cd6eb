//! Endpoints that any user may write led a load balancer into other namespaces. It does not apply: this agent forwards
//! nothing to endpoints, and reads none.

#[test]
fn cve_2021_25740_no_endpoints_are_read() {
    super::cve_2022_3294::nothing_names(&["EndpointSlice", "Api<Endpoints", " Endpoints,", "{Endpoints"]);
}
