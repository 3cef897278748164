/* SPDX-License-Identifier: BSD-2-Clause */
/* When and where a trial ran: a report is read later, and elsewhere. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ab.h"

/* "model name : ..." of x86; others have no such line, or call it otherwise: then it is empty. */
static void read_cpu(char *out, size_t room)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];

	*out = '\0';
	while (file && !*out && fgets(line, sizeof(line), file)) {
		char *text = strncmp(line, "model name", strlen("model name")) ? NULL : strchr(line, ':');

		if (text)
			snprintf(out, room, "%.*s", (int)strcspn(text + 2, "\n"), text + 2);
	}
	if (file)
		fclose(file);
}

void ab_machine_read(struct ab_machine *machine)
{
	time_t now = time(NULL);
	struct tm utc;

	memset(machine, 0, sizeof(*machine));
	if (gmtime_r(&now, &utc))
		strftime(machine->started, sizeof(machine->started), "%Y-%m-%dT%H:%M:%SZ", &utc);
	if (gethostname(machine->host, sizeof(machine->host) - 1))
		machine->host[0] = '\0';
	read_cpu(machine->cpu, sizeof(machine->cpu));
	machine->cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	if (getloadavg(&machine->load, 1) != 1)
		machine->load = -1;
	if (uname(&machine->kernel))
		memset(&machine->kernel, 0, sizeof(machine->kernel));
}
