/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of `smaccel ab` that need no process: readers, patterns, splitting, words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../helper/cli/ab/report.h"
#include "../../helper/cli/utf8.h"

static struct ab_metrics metrics;
static struct ab_values values;

static void read_with(const char *reader, const char *text)
{
	struct ab_sink sink = { &metrics, &values };
	const struct ab_reader *found = ab_reader_find(reader);

	memset(&metrics, 0, sizeof(metrics));
	ab_values_clear(&values);
	assert_non_null(found);
	found->read(found, text, &sink);
}

static void assert_value(const char *name, double expected)
{
	size_t index = ab_metrics_find(&metrics, name);

	if (index == AB_METRICS_MAX)
		fail_msg("no metric \"%s\"", name);
	if (!(fabs(values.value[index] - expected) <= 1e-6 * fabs(expected)))
		fail_msg("%s: %.9g, not %.9g", name, values.value[index], expected);
}

static bool is_headline(const char *name)
{
	return metrics.list[ab_metrics_find(&metrics, name)].is_headline;
}

/* ---- readers: what the programs of Debian 12 print ---- */
static void test_reader_redis(void **state)
{
	(void)state;
	read_with("redis-benchmark",
		  "SET: rps=0.0 (overall: 0.0) avg_msec=-nan (overall: -nan)\r====== SET ======\n"
		  "  5000 requests completed in 1.95 seconds\n\n"
		  "Latency by percentile distribution:\n0.000% <= 0.175 milliseconds (cumulative count 1)\n\n"
		  "Summary:\n  throughput summary: 2564.10 requests per second\n  latency summary (msec):\n"
		  "          avg       min       p50       p95       p99       max\n"
		  "       12.345     0.168     0.799    66.111   120.000   142.591\n"
		  "====== GET ======\n  throughput summary: 99.5 requests per second\n");
	assert_value("SET requests", 2564.10);
	assert_value("GET requests", 99.5);
	assert_value("SET latency mean", 12345);
	assert_value("SET latency min", 168);
	assert_value("SET latency p50", 799);
	assert_value("SET latency p95", 66111);
	assert_value("SET latency p99", 120000);
	assert_value("SET latency max", 142591);
	assert_int_equal(metrics.count, 8);
	read_with("redis-benchmark",
		  "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\","
		  "\"p99_latency_ms\",\"max_latency_ms\"\n"
		  "\"GET\",\"50505.05\",\"0.501\",\"0.160\",\"0.487\",\"0.703\",\"0.999\",\"1.727\"\n");
	assert_value("GET requests", 50505.05);
	assert_value("GET latency p50", 487);
	assert_value("GET latency max", 1727);
	read_with("redis-benchmark",
		  "GET: rps=1.0\rGET: 12345.67 requests per second, p50=0.215 msec                   \n"
		  "LRANGE_100 (first 100 elements): 5.5 requests per second, p50=1.5 msec\n");
	assert_value("GET requests", 12345.67);
	assert_value("GET latency p50", 215);
	assert_value("LRANGE_100 (first 100 elements) requests", 5.5);
	read_with("redis-benchmark", "Could not connect to Redis at 127.0.0.1:1: Connection refused\n");
	assert_int_equal(metrics.count, 0);
}

static void test_reader_wrk(void **state)
{
	(void)state;
	read_with("wrk",
		  "Running 1s test @ http://127.0.0.1:7394/\n  1 threads and 5 connections\n"
		  "  Thread Stats   Avg      Stdev     Max   +/- Stdev\n"
		  "    Latency   530.81us    0.96ms   7.69ms   87.05%\n    Req/Sec    26.05k    18.06k   59.66k    "
		  "80.00%\n"
		  "  Latency Distribution\n     50%   66.00us\n     75%  542.00us\n     90%    1.84ms\n     99%    "
		  "1.45s \n"
		  "  26112 requests in 1.02s, 3.79MB read\nRequests/sec:  25692.47\nTransfer/sec:      3.72MB\n");
	assert_value("requests", 25692.47);
	assert_true(is_headline("requests") && metrics.list[ab_metrics_find(&metrics, "requests")].higher_is_better);
	assert_value("latency mean", 530.81);
	assert_value("latency max", 7690);
	assert_value("latency p50", 66);
	assert_value("latency p90", 1840);
	assert_value("latency p99", 1450000);
}

static void test_reader_ab(void **state)
{
	(void)state;
	read_with(
		"ab",
		"Concurrency Level:      5\nFailed requests:        3\nRequests per second:    5266.58 [#/sec] (mean)\n"
		"Time per request:       0.949 [ms] (mean)\n"
		"Time per request:       0.190 [ms] (mean, across all concurrent requests)\n\n"
		"Percentage of the requests served within a certain time (ms)\n  50%      2\n  99%      6\n"
		" 100%     16 (longest request)\n");
	assert_value("requests", 5266.58);
	assert_value("latency mean", 949);
	assert_value("failed requests", 3);
	assert_value("latency p50", 2000);
	assert_value("latency p99", 6000);
	assert_value("latency max", 16000);
}

static void test_reader_pgbench(void **state)
{
	(void)state;
	read_with("pgbench",
		  "transaction type: <builtin: select only>\nnumber of transactions actually processed: 100\n"
		  "latency average = 0.512 ms\nlatency stddev = 0.101 ms\ninitial connection time = 5.1 ms\n"
		  "tps = 1950.25 (without initial connection time)\n");
	assert_value("transactions", 1950.25);
	assert_value("latency mean", 512);
	assert_value("latency deviation", 101);
}

static void test_reader_sockperf(void **state)
{
	(void)state;
	read_with("sockperf",
		  "sockperf: \033[2;35m====> avg-latency=20.612 (std-dev=146.413)\033[0m\n"
		  "sockperf: Summary: Latency is 20.612 usec\nsockperf: ---> <MAX> observation = 2675.476\n"
		  "sockperf: ---> percentile 99.900 = 2051.968\nsockperf: ---> percentile 99.000 =   47.590\n"
		  "sockperf: ---> percentile 50.000 =    6.800\nsockperf: ---> <MIN> observation =    6.639\n");
	assert_value("latency mean", 20.612);
	assert_true(is_headline("latency mean"));
	assert_value("latency p50", 6.8);
	assert_value("latency p99", 47.59);
	assert_value("latency p99.9", 2051.968);
	assert_value("latency max", 2675.476);
	read_with("sockperf", "sockperf: Summary: Message Rate is 362511 [msg/sec]\nsockperf: Summary: BandWidth is "
			      "4.840 MBps (38 Mbps)\n");
	assert_value("messages", 362511);
	assert_value("bandwidth", 4.84);
}

static void test_reader_json(void **state)
{
	(void)state;
	read_with("iperf3", "{\"end\": {\"sum_sent\": {\"bits_per_second\": 6.5e9, \"retransmits\": 6},"
			    " \"sum_received\": {\"bits_per_second\": 6456597081.5}}}");
	assert_value("throughput", 6456597081.5);
	assert_value("retransmits", 6);
	read_with("fio",
		  "note: both iodepth >= 1 and synchronous\n{\"jobs\": [{\"jobname\": \"x\", \"read\": {\"total_ios\": "
		  "8457, \"iops\": 8440.5,"
		  "\"bw_bytes\": 34570730, \"clat_ns\": {\"mean\": 116763.9, \"max\": 11440228, \"percentile\":"
		  "{\"50.000000\": 56064, \"99.900000\": 8093696}}}, \"write\": {\"total_ios\": 0, \"iops\": 0}}]}");
	assert_value("read operations", 8440.5);
	assert_value("read throughput", 34570730);
	assert_value("read latency p50", 56.064);
	assert_value("read latency p99.9", 8093.696);
	assert_value("read latency max", 11440.228);
	assert_int_equal(ab_metrics_find(&metrics, "write operations"), AB_METRICS_MAX);
	read_with("fio", "not JSON {");
	assert_int_equal(metrics.count, 0);
}

static void test_reader_is_found_in_the_command(void **state)
{
	(void)state;
	assert_string_equal(
		ab_reader_for((const char *[]){ "ip", "netns", "exec", "x", "/usr/bin/sockperf", "pp", NULL })->name,
		"sockperf");
	assert_string_equal(ab_reader_for((const char *[]){ "wrk", NULL })->name, "wrk");
	assert_null(ab_reader_for((const char *[]){ "wrk2", NULL }));
}

/* ---- --metric ---- */
static char odd[AB_ODD_BYTES];

static enum ab_found read_pattern(const char *option, const char *text)
{
	struct ab_sink sink = { &metrics, &values };
	struct ab_pattern pattern;
	enum ab_found found;
	char why[160];

	memset(&metrics, 0, sizeof(metrics));
	ab_values_clear(&values);
	assert_int_equal(ab_pattern_parse(&pattern, option, why), 0);
	found = ab_pattern_read(&pattern, text, &sink, odd);
	ab_pattern_free(&pattern);
	return found;
}

static void test_pattern(void **state)
{
	struct ab_pattern pattern;
	char why[160];

	(void)state;
	read_pattern("a b:us=^mean=([0-9.]+)", "xmean=1\nmean=2.5\n");
	assert_value("a b", 2.5);
	assert_false(metrics.list[0].higher_is_better);
	assert_string_equal(metrics.list[0].unit, "us");
	read_pattern("rate:MB/s=[0-9]+", "n 10 20 90");
	assert_value("rate", 20); /* the median of the matches */
	assert_true(metrics.list[0].higher_is_better);
	read_pattern("n:/s:lower=([0-9.e+-]+) per", "1e3 per, -4 per\n5 per");
	assert_value("n", 5);
	assert_false(metrics.list[0].higher_is_better);
	read_pattern("x=x*", "abc"); /* matches nothing, everywhere */
	assert_int_equal(metrics.count, 0);
	read_pattern("x=none", "");
	assert_int_equal(metrics.count, 0);
	assert_int_equal(ab_pattern_parse(&pattern, "=x", why), -1);
	assert_int_equal(ab_pattern_parse(&pattern, "a:b:c=x", why), -1);
	assert_int_equal(ab_pattern_parse(&pattern, "a:lower:b=x", why), -1);
	assert_int_equal(ab_pattern_parse(&pattern, "a=[", why), -1);
}

static void test_pattern_takes_whole_numbers(void **state)
{
	(void)state;
	assert_int_equal(read_pattern("ops:1/s=ops: ([0-9,]+)", "ops: 12,107 per second"), AB_FOUND_ODD);
	assert_string_equal(odd, "12,107");
	assert_int_equal(metrics.count, 0);
	assert_int_equal(read_pattern("n=n ([0-9,]+)", "n 999\nn 1,001\nn 998"),
			 AB_FOUND_ODD); /* not the median of two */
	assert_int_equal(read_pattern("n=n ([0-9]+)", "n 12.5"), AB_FOUND_ODD);
	assert_int_equal(read_pattern("n=n ([0-9a-z]+)", "n 5ms"), AB_FOUND_ODD);
	assert_int_equal(read_pattern("n=n ([^ ]+)", "n none\n"), AB_FOUND_NONE);
	assert_int_equal(read_pattern("n=n ([^ ]+)", "n infrared nanometre\n"), AB_FOUND_NONE);

	assert_int_equal(read_pattern("n=took ([0-9]+)", "took 12."), AB_FOUND_NUMBER);
	assert_value("n", 12);
	assert_int_equal(read_pattern("n=n([ 0-9.]+)", "n  7.5  \n"), AB_FOUND_NUMBER);
	assert_value("n", 7.5);
	assert_int_equal(read_pattern("n=[0-9]+ ms", "3 ms"),
			 AB_FOUND_NUMBER); /* no parenthesis: where the match begins */
	assert_value("n", 3);
	assert_int_equal(read_pattern("n=none", ""), AB_FOUND_NONE);
}

/* ---- words ---- */
static void test_split(void **state)
{
	const char *const *words = ab_split("  redis-server --save '' \"a b\"  x\\ y 'it''s' \\\\ ");

	(void)state;
	assert_string_equal(words[0], "redis-server");
	assert_string_equal(words[1], "--save");
	assert_string_equal(words[2], "");
	assert_string_equal(words[3], "a b");
	assert_string_equal(words[4], "x y");
	assert_string_equal(words[5], "its");
	assert_string_equal(words[6], "\\");
	assert_null(words[7]);
	free((void *)words[0]);
	free((void *)words);
	assert_null(ab_split("a 'b"));
	words = ab_split("");
	assert_null(words[0]);
	free((void *)words);
}

static void test_words(void **state)
{
	char value[VALUE_BYTES], command[AB_WORDS_BYTES], long_word[1000];

	(void)state;
	assert_string_equal(value_text(value, 12345.6, "1/s"), "12,346/s");
	assert_string_equal(value_text(value, 1234, "us"), "1.23 ms");
	assert_string_equal(value_text(value, 0.00042, "s"), "420 us");
	assert_string_equal(value_text(value, 5.5e9, "bit/s"), "5.50 Gbit/s");
	assert_string_equal(value_text(value, 0, ""), "0");
	assert_string_equal(value_text(value, NAN, "s"), "-");
	assert_string_equal(ab_words_command(command, (const char *[]){ "a", "", "b c", "it's", NULL }),
			    "a '' 'b c' 'it'\\''s'");
	memset(long_word, 'x', sizeof(long_word) - 1);
	long_word[sizeof(long_word) - 1] = '\0';
	assert_int_equal(strlen(ab_words_command(command, (const char *[]){ long_word, NULL })), AB_WORDS_BYTES - 1);
}

static void test_text_keeps_the_end(void **state)
{
	struct ab_text text = { 0 };
	char line[AB_LINE_BYTES];

	(void)state;
	assert_string_equal(ab_text_last_line(&text, line), "");
	for (unsigned i = 0; i < AB_TEXT_MAX / 16 + 1000; i++)
		ab_text_add(&text, "fifteen bytes..\n", 16);
	ab_text_add(&text, "the \033 end\n\n", 11);
	assert_true(text.cut && text.bytes <= AB_TEXT_MAX);
	assert_string_equal(ab_text_last_line(&text, line), "the ? end");
	free(text.text);
}

static void check_repair(const char *text, const char *expected)
{
	char *repaired = utf8_repair(text);

	assert_string_equal(repaired, expected);
	free(repaired);
}

static void test_utf8(void **state)
{
	char cut[] = "12 \xe2\x82", whole[] = "12 \xe2\x82\xac", latin[] = "caf\xe9";

	(void)state;
	check_repair("", "");
	check_repair("caf\xe9 x", "caf" UTF8_REPLACEMENT " x");
	check_repair("\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80");
	check_repair("\xe2\x82", UTF8_REPLACEMENT UTF8_REPLACEMENT);
	check_repair("\xc0\x80", UTF8_REPLACEMENT UTF8_REPLACEMENT);                      /* too long a form of NUL */
	check_repair("\xed\xa0\x80", UTF8_REPLACEMENT UTF8_REPLACEMENT UTF8_REPLACEMENT); /* a surrogate */
	check_repair("\xf4\x90\x80\x80", UTF8_REPLACEMENT UTF8_REPLACEMENT UTF8_REPLACEMENT UTF8_REPLACEMENT);
	utf8_end_whole(cut);
	assert_string_equal(cut, "12 ");
	utf8_end_whole(whole);
	assert_string_equal(whole, "12 \xe2\x82\xac");
	utf8_end_whole(latin); /* the same as the start of a character that was cut */
	assert_string_equal(latin, "caf");
}

static void test_last_line_is_cut_between_characters(void **state)
{
	struct ab_text text = { 0 };
	char line[AB_LINE_BYTES];

	(void)state;
	for (unsigned i = 0; i < AB_LINE_BYTES; i++)
		ab_text_add(&text, "\xe2\x82\xac", 3);
	ab_text_add(&text, "x", 1);
	assert_int_equal(utf8_length(ab_text_last_line(&text, line)), 3);
	assert_int_equal(strlen(line), 39 * 3 + 1);
	free(text.text);
}

static void test_cpus(void **state)
{
	cpu_set_t cpus;

	(void)state;
	assert_true(ab_cpus_parse("0,2-3", &cpus));
	assert_true(CPU_COUNT(&cpus) == 3 && CPU_ISSET(0, &cpus) && CPU_ISSET(2, &cpus) && CPU_ISSET(3, &cpus));
	assert_false(ab_cpus_parse("", &cpus) || ab_cpus_parse("1-", &cpus) || ab_cpus_parse("3-2", &cpus) ||
		     ab_cpus_parse("1,,2", &cpus) || ab_cpus_parse("-1", &cpus) || ab_cpus_parse("99999", &cpus));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reader_redis),
		cmocka_unit_test(test_reader_wrk),
		cmocka_unit_test(test_reader_ab),
		cmocka_unit_test(test_reader_pgbench),
		cmocka_unit_test(test_reader_sockperf),
		cmocka_unit_test(test_reader_json),
		cmocka_unit_test(test_reader_is_found_in_the_command),
		cmocka_unit_test(test_pattern),
		cmocka_unit_test(test_pattern_takes_whole_numbers),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_text_keeps_the_end),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_last_line_is_cut_between_characters),
		cmocka_unit_test(test_cpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
