/*
 * A handler that watches who calls it: crowd/TOGETHER/LIMIT. A callout waits until TOGETHER have come, and lingers then, so that
 * those who must not be there have time to come: more than LIMIT at once, or two with overlapping ranges one of which writes.
 * They end with an error. It keeps no data.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "abi.h"

#define THREADS 3
#define LINGER_MICROSECONDS 20000

struct visit {
	uint64_t off, end;
	bool writes, there;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	unsigned together, limit, came, inside;
	struct visit visits[64];
} the = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

/* enter notes a visit (under the lock); its number, or -1 if it must not be. */
static int enter(struct visit v)
{
	int at = -1;
	bool allowed = the.inside < the.limit;
	for (int i = 0; i < (int)(sizeof the.visits / sizeof *the.visits); i++) {
		struct visit *o = &the.visits[i];
		if (!o->there)
			at = i;
		else if ((v.writes || o->writes) && v.off < o->end && o->off < v.end)
			allowed = false;
	}
	if (!allowed || at < 0)
		return -1;
	the.visits[at] = v;
	the.inside++;
	return at;
}

static int visit(struct visit v)
{
	pthread_mutex_lock(&the.lock);
	int at = enter(v);
	if (at >= 0) {
		unsigned want = (the.came++ / the.together + 1) * the.together;
		pthread_cond_broadcast(&the.more);
		while (the.came < want)
			pthread_cond_wait(&the.more, &the.lock);
		pthread_mutex_unlock(&the.lock);
		usleep(LINGER_MICROSECONDS);
		pthread_mutex_lock(&the.lock);
		the.visits[at].there = false;
		the.inside--;
	}
	pthread_mutex_unlock(&the.lock);
	return at >= 0 ? TCMU_STS_OK : TCMU_STS_HW_ERR;
}

static int read_crowd(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *iov, size_t n, size_t len, off_t off)
{
	(void)d, (void)c, (void)iov, (void)n;
	return visit((struct visit){off, off + len, false, true});
}

static int write_crowd(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *iov, size_t n, size_t len, off_t off)
{
	(void)d, (void)c, (void)iov, (void)n;
	return visit((struct visit){off, off + len, true, true});
}

static int open_crowd(struct tcmu_device *d, bool reopen)
{
	(void)reopen;
	return sscanf(tcmu_dev_get_cfgstring(d), "crowd/%u/%u", &the.together, &the.limit) == 2 ? 0 : -EINVAL;
}

static void close_crowd(struct tcmu_device *d) { (void)d; }

static struct tcmur_handler crowd = {
	.name = "Crowd", .subtype = "crowd", .cfg_desc = "crowd/TOGETHER/LIMIT", .nr_threads = THREADS,
	.open = open_crowd, .close = close_crowd, .read = read_crowd, .write = write_crowd,
};
int handler_init(void);
int handler_init(void) { return tcmur_register_handler(&crowd); }
