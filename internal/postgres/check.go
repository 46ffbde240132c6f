package postgres

// Check reports what is wrong with the configuration as far as that can be told
// without connecting. It returns ErrPlaintext.
func (c Config) Check() error {
	_, err := parse(c.URL)
	return err
}
