-- SPDX-License-Identifier: BSD-2-Clause
-- What wrk measured, as one line that starts with "result ".
function done(summary, latency, _)
	local errors = summary.errors
	io.write(string.format(
		'result {"requests": %d, "duration_us": %d, "errors": %d, "p50_us": %d, "p99_us": %d, "p999_us": %d, "max_us": %d}\n',
		summary.requests, summary.duration, errors.connect + errors.read + errors.write + errors.status + errors.timeout,
		latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
