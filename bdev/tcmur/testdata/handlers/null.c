/* A handler that keeps nothing: null/ */
#include <string.h>

#include "abi.h"

static int open_null(struct tcmu_device *d, bool reopen)
{
	(void)reopen;
	tcmu_dev_set_write_cache_enabled(d, false);
	return 0;
}
static void close_null(struct tcmu_device *d) { (void)d; }
static int read_null(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *iov, size_t n, size_t len, off_t off)
{
	(void)d, (void)c, (void)len, (void)off;
	for (size_t i = 0; i < n; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
	return TCMU_STS_OK;
}
static int write_null(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *iov, size_t n, size_t len, off_t off)
{
	(void)d, (void)c, (void)iov, (void)n, (void)len, (void)off;
	return TCMU_STS_OK;
}

struct tcmur_handler null_handler = {
	.name = "Null", .subtype = "null", .cfg_desc = "nothing", .nr_threads = 1,
	.open = open_null, .close = close_null, .read = read_null, .write = write_null,
};
int handler_init(void);
int handler_init(void) { return tcmur_register_handler(&null_handler); }
