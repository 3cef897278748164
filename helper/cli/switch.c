/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel off, smaccel on: the kill switch. */
#include <stdio.h>

#include "cli.h"
#include "client.h"

static int throw_switch(int argc, const char **argv, enum wire_type request, const char *done)
{
	struct cli_options options;

	if (!cli_options_parse(&options, argc, argv, CLI_ACCEPTS_SOCKET, "[--socket=PATH]"))
		return CLI_USAGE;
	if (client_ask(argv[0], options.socket_path, request, NULL))
		return CLI_FAILURE;
	puts(done);
	return CLI_OK;
}

int cli_off_main(int argc, const char **argv)
{
	return throw_switch(argc, argv, WIRE_OFF,
			    "off: every message goes through TCP; connections stay up, none is lost");
}

int cli_on_main(int argc, const char **argv)
{
	return throw_switch(argc, argv, WIRE_ON, "on");
}
