/* SPDX-License-Identifier: BSD-2-Clause */
#include "words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

void words_add(char *buffer, size_t bytes, const char *format, ...)
{
	size_t used = strlen(buffer);
	va_list arguments;
	int wanted;

	va_start(arguments, format);
	wanted = vsnprintf(buffer + used, bytes - used, format, arguments);
	va_end(arguments);
	if (wanted >= 0 && (size_t)wanted >= bytes - used)
		utf8_end_whole(buffer);
}
