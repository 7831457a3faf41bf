/* Lines for the target's log go to standard error, messages to the target go over the control socket. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host.h"

#define LINE_MAX_BYTES 1024

/* As tcmu-runner's default: information, and no debug lines, of which some handlers have several a request. */
static unsigned log_level = 3;

/* put writes one line, in one piece, so that lines of several threads do not mix. %m in fmt is the caller's errno. */
static void put(char level, const char *func, const char *fmt, va_list args)
{
	if (level == 'D' && log_level <= 3)
		return;
	char line[LINE_MAX_BYTES];
	int saved = errno;
	int n = snprintf(line, sizeof line, "<%c>%s%s", level, func ? func : "", func ? ": " : "");
	if (n > (int)sizeof line / 2)
		n = sizeof line / 2;
	errno = saved;
	int m = vsnprintf(line + n, sizeof line - n - 1, fmt, args);
	n += m < 0 ? 0 : m > (int)sizeof line - n - 2 ? (int)sizeof line - n - 2 : m;
	for (int i = 0; i < n; i++)
		if (line[i] == '\n')
			line[i] = ' ';
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0) {
		/* Nobody listens; there is no one to tell. */
	}
	errno = saved;
}

void say(char level, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	put(level, NULL, fmt, args);
	va_end(args);
}

void tell(const char *fmt, ...)
{
	char message[4096];
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(message, sizeof message, fmt, args);
	va_end(args);
	if (n >= (int)sizeof message)
		n = sizeof message - 1;
	send(FD_CONTROL, message, n, MSG_NOSIGNAL);
}

_Noreturn void fail(const char *fmt, ...)
{
	char text[2048];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	tell("error %s", text);
	_exit(1);
}

/* The names that handlers call; the macros of their headers pass func and line. */
#define MESSAGE(name, level) \
	__attribute__((format(printf, 4, 5))) void name(struct tcmu_device *dev, const char *func, int line, const char *fmt, ...); \
	void name(struct tcmu_device *dev, const char *func, int line, const char *fmt, ...) \
	{ \
		(void)dev; \
		(void)line; \
		va_list args; \
		va_start(args, fmt); \
		put(level, func, fmt, args); \
		va_end(args); \
	}
MESSAGE(tcmu_crit_message, 'E')
MESSAGE(tcmu_err_message, 'E')
MESSAGE(tcmu_warn_message, 'W')
MESSAGE(tcmu_info_message, 'I')
MESSAGE(tcmu_dbg_message, 'D')
MESSAGE(tcmu_dbg_scsi_cmd_message, 'D')

unsigned tcmu_get_log_level(void);
unsigned tcmu_get_log_level(void) { return log_level; }
void tcmu_set_log_level(int level);
void tcmu_set_log_level(int level) { log_level = level; }
