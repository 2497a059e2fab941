//! The meaning of the stacks of an API server's goroutines.
//!
//! The text has a block for each stack, with a line for each of its functions, the innermost first, up to 128.

/// Functions whose presence means that code which can write for a client is running. If the outermost functions of a
/// deep stack are cut off, one of those in between shows it.
const AT_WORK: [&str; 8] = [
    // A request, over either protocol.
    "net/http.serverHandler.ServeHTTP",
    "http2.(*serverConn).runHandler",
    // A request that was answered before its handler had ended.
    "filters.(*timeoutHandler).ServeHTTP.func",
    "k8s.io/apiserver/pkg/endpoints/handlers",
    // Parts of requests that the requests do not wait for, or only for a limited time.
    "(*Store).DeleteCollection",
    "resourcequota.(*quotaEvaluator).checkAttributes",
    // The deletion of a CRD's instances. While it waits for those with finalizers it writes nothing, but keeps the next
    // lease from deleting a CRD of that name.
    "finalizer.(*CRDFinalizer).sync",
    // The standard library's own HTTP/2, if the server uses it.
    "net/http.(*http2serverConn).runHandler",
];

/// Functions of requests that cannot write: watches, and the request for these stacks.
const HARMLESS: [&str; 2] = ["handlers.(*WatchServer).", "net/http/pprof."];

/// Returns a function that is at work for a client, if there is one.
pub(super) fn at_work(profile: &str) -> Option<&str> {
    profile.split("\n\n").find_map(|stack| {
        let functions = || stack.lines().filter_map(function);
        if functions().any(|function| HARMLESS.iter().any(|harmless| function.contains(harmless))) {
            return None;
        }
        functions().find(|function| AT_WORK.iter().any(|at_work| function.contains(at_work)))
    })
}

/// The function of a line: `#`, an address, a function with an offset, a place in a file, separated by tabs.
fn function(line: &str) -> Option<&str> {
    line.strip_prefix('#')?.split('\t').nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An excerpt from an API server that served only its own watches and this request.
    const IDLE: &str = "goroutine profile: total 2210\n\
        204 @ 0x48dcce 0x41c66e 0x41c1d4 0x4959a1\n\
        #\t0x2356412\tk8s.io/client-go/util/workqueue.(*Typed[...]).updateUnfinishedWorkLoop+0xa5\t\tk8s.io/client-go/queue.go:311\n\
        \n\
        33 @ 0x48dcce 0x469f65 0x251d3b9\n\
        #\t0x251d3b8\tk8s.io/apiserver/pkg/endpoints/handlers.(*WatchServer).HandleHTTP+0x15d8\t\tk8s.io/apiserver/watch.go:424\n\
        #\t0x8c4e48\tnet/http.HandlerFunc.ServeHTTP+0x28\tnet/http/server.go:2286\n\
        #\t0x247ff58\tk8s.io/apiserver/pkg/server/filters.(*timeoutHandler).ServeHTTP+0x318\t\tk8s.io/apiserver/timeout.go:87\n\
        #\t0x8e55ad\tnet/http.serverHandler.ServeHTTP+0x8d\t\tnet/http/server.go:3311\n\
        #\t0xaf873c\tgolang.org/x/net/http2.(*serverConn).runHandler+0x9c\tgolang.org/x/net/http2/server.go:2321\n\
        \n\
        5 @ 0x48dcce 0x4959a1\n\
        #\t0x1e1\tk8s.io/apiextensions-apiserver/pkg/controller/finalizer.(*CRDFinalizer).processNextWorkItem+0x53\tcrd_finalizer.go:297\n\
        \n\
        1 @ 0x44b891 0x48ca9d\n\
        #\t0x2223030\truntime/pprof.writeRuntimeProfile+0xb0\truntime/pprof/pprof.go:851\n\
        #\t0x249f0c9\tnet/http/pprof.handler.ServeHTTP+0x529\tnet/http/pprof/pprof.go:273\n\
        #\t0x8e55ad\tnet/http.serverHandler.ServeHTTP+0x8d\tnet/http/server.go:3311\n";

    #[test]
    fn an_idle_api_server_is_not_at_work_for_a_client() {
        assert_eq!(at_work(IDLE), None);
        assert_eq!(at_work(""), None);
    }

    #[test]
    fn requests_that_outlive_their_connections_are_at_work() {
        for function in [
            "k8s.io/apiserver/pkg/server/filters.(*timeoutHandler).ServeHTTP.func1+0x65",
            "k8s.io/apiserver/pkg/endpoints/handlers/finisher.finishRequest.func1+0x1",
            "k8s.io/apiserver/pkg/registry/generic/registry.(*Store).DeleteCollection.func1+0x1",
            "k8s.io/apiextensions-apiserver/pkg/controller/finalizer.(*CRDFinalizer).sync+0x3a7",
            "golang.org/x/net/http2.(*serverConn).runHandler+0x9c",
        ] {
            let stack =
                format!("\n1 @ 0x1 0x2\n#\t0x1\tsync.(*Mutex).Lock+0x1\tsync.go:1\n#\t0x2\t{function}\tb.go:2\n");
            assert_eq!(at_work(&format!("{IDLE}{stack}")), Some(function));
        }
    }
}
