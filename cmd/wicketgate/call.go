package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/spiffe"
)

const (
	issuerEnv   = "WICKETGATE_ISSUER"
	issuerOfDev = "http://127.0.0.1:8420"

	maxSubjectToken = 64 << 10 // bytes

	ownAuthority = "an authority of your own goes into a file that SSL_CERT_FILE names"
)

// callFlags is the flags of wicketgate call.
type callFlags struct {
	spiffe      bool
	workloadAPI string // address; "": as the environment says
	issuer      string // URL; "": as the environment says
	svid        string // "", x509 or jwt
	serverID    string // "": servers prove themselves by Web PKI
	subject     string // path of a file with a person's access token, or -
	args        []string
	timeout     time.Duration
	json        bool
	verbose     bool
}

func callCommand() *cobra.Command {
	var f callFlags
	c := &cobra.Command{
		Use:   "call SERVER TOOL --spiffe",
		Short: "Call a tool as a workload, which proves itself by its SVID",
		Long: `Calls one tool through the gateway, as the workload that this process is: with the
SVID that the Workload API gives it, and no other secret. SERVER is the name of a
server, or the URL of one (its resource identifier, ISSUER/mcp/NAME).

The result's text goes to stdout, what went wrong to stderr. Exit codes: 0 the tool
answered; 1 it reported an error, or the call was not made. docs/spiffe.md has more.`,
		Example: "  wicketgate call mail list_messages --arg limit=3 --spiffe",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("wicketgate call takes a SERVER and a TOOL, and was given %d: write for example wicketgate call mail list_messages --arg limit=3 --spiffe", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return f.call(c, args[0], args[1])
		},
	}
	flags := c.Flags()
	flags.BoolVar(&f.spiffe, "spiffe", false, "authenticate by the SVID of this process: there is no other way")
	flags.StringVar(&f.workloadAPI, "workload-api", "", "`address` of the Workload API: unix:///run/spire/agent/api.sock (default: $SPIFFE_ENDPOINT_SOCKET)")
	flags.StringVar(&f.issuer, "issuer", "", "`URL` of the authorization server (default: $"+issuerEnv+", else "+issuerOfDev+")")
	flags.StringArrayVar(&f.args, "arg", nil, "argument `NAME=VALUE` of the tool, may be repeated; VALUE is JSON where the tool wants something else than a text")
	flags.StringVar(&f.subject, "subject-token-file", "", "`file` with the access token of a person for whom to call, - is stdin")
	flags.StringVar(&f.svid, "svid", "", "`kind` of SVID, x509 or jwt (default: x509 where the server takes it)")
	flags.StringVar(&f.serverID, "server-spiffe-id", "", "`ID` that the server proves by its SVID, wherever a token or an SVID is sent (default: it proves its name by Web PKI)")
	flags.DurationVar(&f.timeout, "timeout", 30*time.Second, "`time` for everything")
	flags.BoolVar(&f.json, "json", false, "print the whole result as JSON")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "say on stderr what is done")
	return c
}

// call is the command.
func (f callFlags) call(c *cobra.Command, server, tool string) error {
	o, err := f.order(c.InOrStdin(), server, tool)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
	defer cancel()
	result, err := f.carryOut(ctx, o, f.logger(c.ErrOrStderr()))
	if err != nil {
		return f.explain(ctx, err)
	}
	return printResult(c, result, f.json)
}

// callOrder is what the flags and arguments ask for.
type callOrder struct {
	target
	tool      string
	arguments []argument
	subject   string // a person's access token; "": the workload calls for itself
}

// order reads the flags. It asks nobody.
func (f callFlags) order(stdin io.Reader, server, tool string) (o callOrder, err error) {
	switch {
	case !f.spiffe:
		return o, errors.New("wicketgate call authenticates by the SVID of this process: add --spiffe")
	case f.svid != "" && f.svid != svidX509 && f.svid != svidJWT:
		return o, fmt.Errorf("--svid %s: write x509 or jwt", shown(f.svid))
	}
	o.tool = tool
	if o.arguments, err = parseArguments(f.args); err != nil {
		return o, err
	}
	if o.target, err = f.target(server); err != nil {
		return o, err
	}
	o.subject, err = f.subjectToken(stdin)
	return o, err
}

// carryOut gets an identity, with it a token, and with that the result.
func (f callFlags) carryOut(ctx context.Context, o callOrder, log *slog.Logger) (*mcp.CallToolResult, error) {
	w, err := f.workload(ctx, log)
	if err != nil {
		return nil, err
	}
	defer w.source.Close()
	r, err := w.find(ctx, o.target, f.svid)
	if err != nil {
		return nil, err
	}
	accessToken, err := w.accessToken(ctx, r, o.subject)
	if err != nil {
		return nil, err
	}
	return w.callTool(ctx, r.session(accessToken), o)
}

func (f callFlags) logger(stderr io.Writer) *slog.Logger {
	if !f.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(stderr, nil))
}

// subjectToken reads the person's access token, "" for none. It is no argument of the
// command: everybody on the machine sees those.
func (f callFlags) subjectToken(stdin io.Reader) (string, error) {
	if f.subject == "" {
		return "", nil
	}
	in := stdin
	if f.subject != "-" {
		file, err := os.Open(f.subject)
		if err != nil {
			return "", fmt.Errorf("--subject-token-file: %w", err)
		}
		defer file.Close()
		in = file
	}
	b, err := io.ReadAll(io.LimitReader(in, maxSubjectToken+1))
	raw := strings.TrimSpace(string(b))
	switch {
	case err != nil:
		return "", fmt.Errorf("--subject-token-file: %w", err)
	case raw == "" || len(b) > maxSubjectToken || strings.ContainsAny(raw, " \t\r\n"):
		return "", fmt.Errorf("--subject-token-file %s does not hold one access token, and nothing else", f.subject)
	}
	return raw, nil
}

// explain adds what the user could do.
func (f callFlags) explain(ctx context.Context, err error) error {
	var unknown x509.UnknownAuthorityError
	id := claimedID(err)
	switch {
	case id != "":
		return fmt.Errorf("%w; the server says that it is %s: if that is your gateway, add --server-spiffe-id %s", err, id, id)
	case errors.As(err, &unknown) && f.serverID == "":
		return fmt.Errorf("%w; %s", err, ownAuthority)
	case errors.Is(err, spiffe.ErrNoSVID):
		return fmt.Errorf("%w; the gateway shows one with tls.svid or, for --svid x509, mutual_tls.svid: true; without --server-spiffe-id Web PKI will do", err)
	case errors.Is(err, syscall.ECONNREFUSED) && strings.Contains(err.Error(), issuerOfDev) && f.issuer == "":
		return fmt.Errorf("%w; that is where wicketgate dev is: say by --issuer or $%s which server you mean", err, issuerEnv)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w; --timeout is %s", err, f.timeout)
	}
	return err
}

// claimedID is the SPIFFE ID in the certificate that Web PKI did not vouch for, "" if there
// is none. Nothing is proven by it.
func claimedID(err error) string {
	var untrusted *tls.CertificateVerificationError
	if !errors.As(err, &untrusted) || len(untrusted.UnverifiedCertificates) == 0 {
		return ""
	}
	for _, u := range untrusted.UnverifiedCertificates[0].URIs {
		if u.Scheme == "spiffe" {
			return u.String()
		}
	}
	return ""
}
