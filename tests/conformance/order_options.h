/* SPDX-License-Identifier: BSD-2-Clause */
/* order.c: its command line, NAME=VALUE, into `plan`. */
#ifndef SMACCEL_TEST_ORDER_OPTIONS_H
#define SMACCEL_TEST_ORDER_OPTIONS_H

static void options_usage(const char *what)
{
	fprintf(stderr,
		"order: %s?\norder threads|server|client [seed=N] [connections=N] [concurrency=N] [bytes=N] "
		"[write_max=N]\n"
		"  [pause_us=N] [deadline=S] [rcvbuf_every=N] [address=A] [port=N] [styles=A,B] [readers=A,B] "
		"[writers=A,B]\n",
		what);
	_exit(EXIT_USAGE);
}

/* "read,peek" to a mask. */
static unsigned options_mask(const char *list, const char *const *names, unsigned count)
{
	char copy[256], *rest = copy, *name;
	unsigned mask = 0;

	snprintf(copy, sizeof(copy), "%s", list);
	while ((name = strsep(&rest, ","))) {
		unsigned i = 0;

		while (i < count && strcmp(names[i], name))
			i++;
		if (i == count)
			options_usage(name);
		mask |= 1u << i;
	}
	return mask;
}

static bool options_number(const char *name, const char *text)
{
	struct {
		const char *name;
		unsigned *value;
	} numbers[] = {
		{ "connections", &plan.connections },   { "concurrency", &plan.concurrency },
		{ "pause_us", &plan.pause_max_us },     { "deadline", &plan.deadline_s },
		{ "rcvbuf_every", &plan.rcvbuf_every }, { "port", &plan.port },
	};
	unsigned long long value = strtoull(text, NULL, 0);

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (!strcmp(name, numbers[i].name)) {
			*numbers[i].value = (unsigned)value;
			return true;
		}
	if (!strcmp(name, "seed"))
		plan.seed = value;
	else if (!strcmp(name, "bytes"))
		plan.bytes = value;
	else if (!strcmp(name, "write_max"))
		plan.write_max = (size_t)value;
	else
		return false;
	return true;
}

static void options_read(int count, char **options)
{
	for (int i = 0; i < count; i++) {
		char *value = strchr(options[i], '=');

		if (!value)
			options_usage(options[i]);
		*value++ = 0;
		if (!strcmp(options[i], "styles"))
			plan.styles = options_mask(value, style_names, STYLE_COUNT);
		else if (!strcmp(options[i], "readers"))
			plan.readers = options_mask(value, reader_names, READER_COUNT);
		else if (!strcmp(options[i], "writers"))
			plan.writers = options_mask(value, writer_names, WRITER_COUNT);
		else if (!strcmp(options[i], "address"))
			plan.address = value;
		else if (!options_number(options[i], value))
			options_usage(options[i]);
	}
	if (plan.connections > CONNECTIONS_MAX || !plan.connections || !plan.concurrency || !plan.write_max ||
	    !plan.bytes)
		options_usage("a number out of range");
	if (plan.concurrency > plan.connections)
		plan.concurrency = plan.connections;
}

#endif
